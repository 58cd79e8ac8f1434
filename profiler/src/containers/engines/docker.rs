//! Docker's API, which Podman speaks too.

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder},
};

use super::Facts;
use crate::profile::ContainerKind;

pub struct Client {
    docker: Docker,
    kind: ContainerKind,
}

impl Client {
    /// Connects and agrees on a version: engines refuse requests of a newer
    /// one than they know, and very old ones.
    pub async fn connect(address: &str, kind: ContainerKind) -> Result<Self, String> {
        // Seconds. The caller's limit is shorter; this one is bollard's own.
        const TIMEOUT: u64 = 1;
        let docker = if address.starts_with("unix://") || address.starts_with('/') {
            Docker::connect_with_unix(address, TIMEOUT, API_DEFAULT_VERSION)
        } else if address.starts_with("tcp://") || address.starts_with("http://") {
            Docker::connect_with_http(address, TIMEOUT, API_DEFAULT_VERSION)
        } else {
            return Err("only unix:// and tcp:// addresses can be asked".to_owned());
        };
        let docker = docker.map_err(describe)?;
        let docker = docker.negotiate_version().await.map_err(describe)?;
        Ok(Self { docker, kind })
    }

    /// All containers, running or not: one that starts later has its name
    /// already.
    pub async fn list(&self) -> Result<Vec<(String, Facts)>, String> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let list = self
            .docker
            .list_containers(Some(options))
            .await
            .map_err(describe)?;
        Ok(list
            .into_iter()
            .filter_map(|container| {
                let name = container.names?.into_iter().next()?;
                let facts = Facts::new(
                    self.kind,
                    name.trim_start_matches('/').to_owned(),
                    container.image.unwrap_or_default(),
                    container.labels.unwrap_or_default(),
                );
                Some((container.id?, facts))
            })
            .collect())
    }

    /// One container, if the engine knows it.
    pub async fn find(&self, id: &str) -> Result<Vec<(String, Facts)>, String> {
        let container = match self
            .docker
            .inspect_container(id, None::<InspectContainerOptions>)
            .await
        {
            Ok(container) => container,
            Err(Error::DockerResponseServerError {
                status_code: 404, ..
            }) => return Ok(Vec::new()),
            Err(error) => return Err(describe(error)),
        };
        let (image, labels) = container
            .config
            .map(|config| (config.image, config.labels))
            .unwrap_or_default();
        let name = container.name.unwrap_or_default();
        let facts = Facts::new(
            self.kind,
            name.trim_start_matches('/').to_owned(),
            image.unwrap_or_default(),
            labels.unwrap_or_default(),
        );
        Ok(vec![(container.id.unwrap_or_default(), facts)])
    }
}

/// One line, with the causes: `client error (Connect)` alone helps nobody.
fn describe(error: Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}
