//! Kubernetes' container runtime interface, for containerd and CRI-O: the
//! part of k8s.io/cri-api `runtime.v1` that says what a container is called.

use std::{collections::HashMap, path::Path};

use prost::Message;

use super::{Facts, grpc};
use crate::profile::ContainerKind;

#[derive(Clone, PartialEq, Message)]
struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<CriContainer>,
}

#[derive(Clone, PartialEq, Message)]
struct CriContainer {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "4")]
    image: Option<ImageSpec>,
    #[prost(map = "string, string", tag = "8")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(map = "string, string", tag = "5")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

/// All containers and pod sandboxes, running or not.
pub async fn list(socket: &Path, kind: ContainerKind) -> Result<Vec<(String, Facts)>, String> {
    let call = async |method: &str| {
        grpc::call(socket, method, &[])
            .await
            .map_err(|error| error.to_string())
    };
    let containers = call("/runtime.v1.RuntimeService/ListContainers").await?;
    let containers = ListContainersResponse::decode(containers.as_slice())
        .map_err(|error| error.to_string())?
        .containers;
    let sandboxes = call("/runtime.v1.RuntimeService/ListPodSandbox").await?;
    let sandboxes = ListPodSandboxResponse::decode(sandboxes.as_slice())
        .map_err(|error| error.to_string())?
        .items;

    let containers = containers.into_iter().map(|container| {
        let name = container.metadata.map(|metadata| metadata.name);
        let image = container.image.map(|image| image.image);
        let facts = Facts::new(
            kind,
            name.unwrap_or_default(),
            image.unwrap_or_default(),
            container.labels,
        );
        (container.id, facts)
    });
    // The sandbox's own process is the pause container.
    let sandboxes = sandboxes.into_iter().map(|sandbox| {
        let mut facts = Facts::new(kind, "pause".to_owned(), String::new(), sandbox.labels);
        if let Some(metadata) = sandbox.metadata {
            facts.pod = metadata.name;
            facts.namespace = metadata.namespace;
        }
        (sandbox.id, facts)
    });
    Ok(containers.chain(sandboxes).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{io::AsyncReadExt, net::UnixListener};

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// A server that speaks as much HTTP/2 as containerd does to us: settings,
    /// a ping, the message in two frames, trailers.
    async fn serve(listener: UnixListener, answers: Vec<Vec<u8>>) {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a call");
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.expect("the preface");
            loop {
                let (kind, flags, _) = grpc::read_frame(&mut stream).await.expect("a frame");
                if kind == grpc::DATA && flags & grpc::END_STREAM != 0 {
                    break;
                }
            }
            let body = grpc::message(&answer);
            let (first, second) = body.split_at(body.len() / 2);
            let mut bytes = Vec::new();
            grpc::frame(&mut bytes, grpc::SETTINGS, 0, 0, &[]);
            grpc::frame(&mut bytes, 6, 0, 0, &[7; 8]);
            grpc::frame(&mut bytes, grpc::HEADERS, grpc::END_HEADERS, 1, &[0x88]);
            grpc::frame(&mut bytes, grpc::DATA, 0, 1, first);
            let mut padded = vec![2];
            padded.extend_from_slice(second);
            padded.extend_from_slice(&[0, 0]);
            grpc::frame(&mut bytes, grpc::DATA, 8, 1, &padded);
            let end = grpc::END_HEADERS | grpc::END_STREAM;
            grpc::frame(&mut bytes, grpc::HEADERS, end, 1, &[]);
            use tokio::io::AsyncWriteExt;
            stream.write_all(&bytes).await.expect("the answer");
            // The acknowledgements.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
    }

    #[tokio::test]
    async fn names_from_a_runtime() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("containerd.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let containers = ListContainersResponse {
            containers: vec![CriContainer {
                id: "c0ffee".to_owned(),
                metadata: Some(ContainerMetadata {
                    name: "nginx".to_owned(),
                }),
                image: Some(ImageSpec {
                    image: "nginx:1".to_owned(),
                }),
                labels: labels(&[
                    ("io.kubernetes.container.name", "nginx"),
                    ("io.kubernetes.pod.name", "web-7d9f"),
                    ("io.kubernetes.pod.namespace", "shop"),
                ]),
            }],
        };
        let sandboxes = ListPodSandboxResponse {
            items: vec![PodSandbox {
                id: "decade".to_owned(),
                metadata: Some(PodSandboxMetadata {
                    name: "web-7d9f".to_owned(),
                    namespace: "shop".to_owned(),
                }),
                labels: HashMap::new(),
            }],
        };
        let server = tokio::spawn(serve(
            listener,
            vec![containers.encode_to_vec(), sandboxes.encode_to_vec()],
        ));
        let list = list(&socket, ContainerKind::Containerd)
            .await
            .expect("a list");
        server.await.expect("the server ends");
        assert_eq!(list.len(), 2);
        let (id, facts) = &list[0];
        assert_eq!((id.as_str(), facts.image.as_str()), ("c0ffee", "nginx:1"));
        assert_eq!(
            (facts.pod.as_str(), facts.namespace.as_str()),
            ("web-7d9f", "shop")
        );
        assert_eq!(facts.display(), "web-7d9f/nginx");
        assert_eq!(list[1].1.display(), "web-7d9f/pause");
    }

    #[tokio::test]
    async fn what_is_no_runtime() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("x.sock");
        assert!(list(&socket, ContainerKind::Crio).await.is_err());
        let listener = UnixListener::bind(&socket).expect("a socket");
        tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let (mut stream, _) = listener.accept().await.expect("a call");
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        });
        let answer =
            tokio::time::timeout(Duration::from_secs(1), list(&socket, ContainerKind::Crio));
        assert!(answer.await.expect("in time").is_err());
    }
}
