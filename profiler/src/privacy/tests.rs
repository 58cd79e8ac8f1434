use super::*;

fn masked(argv: &[&str]) -> String {
    let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
    command_line(&argv)
}

/// The arguments, and how they must be recorded.
fn check(cases: &[(&[&str], &str)]) {
    for (argv, expected) in cases {
        assert_eq!(masked(argv), *expected, "{argv:?}");
    }
}

#[test]
fn options_with_a_value() {
    check(&[
        (&["app", "--password", "hunter2"], "app --password ***"),
        (&["app", "--password=hunter2"], "app --password=***"),
        (&["app", "--password=a b&c,d"], "app --password=***"),
        (
            &["app", "--password", "with space in it"],
            "app --password ***",
        ),
        (&["app", "-password", "hunter2"], "app -password ***"),
        (&["app", "--db.password=x1;y2"], "app --db.password=***"),
        (
            &["app", "--token", "abc", "--port", "80"],
            "app --token *** --port 80",
        ),
        (&["app", "--api-key=abc", "run"], "app --api-key=*** run"),
        (&["app", "--apiKey", "abc"], "app --apiKey ***"),
        (&["app", "--password", "-hunter2"], "app --password ***"),
        (
            &["app", "--password", "--host", "db"],
            "app --password --host db",
        ),
        (
            &["java", "-Dspring.datasource.password=s3", "-jar", "a.jar"],
            "java -Dspring.datasource.password=*** -jar a.jar",
        ),
        (
            &["redis-server", "*:6379", "--requirepass", "abc"],
            "redis-server *:6379 --requirepass ***",
        ),
        (&["app", "--key", "Zk3x9QmPq27TbLw05RnD"], "app --key ***"),
        (
            &["app", "--key", "/etc/tls/server.key"],
            "app --key /etc/tls/server.key",
        ),
    ]);
}

#[test]
fn variables() {
    check(&[
        (
            &["env", "PGPASSWORD=hunter2", "psql", "-h", "db"],
            "env PGPASSWORD=*** psql -h db",
        ),
        (
            &["env", "AWS_SECRET_ACCESS_KEY=wJalr/K7+b", "aws"],
            "env AWS_SECRET_ACCESS_KEY=*** aws",
        ),
        (
            &["docker", "run", "-e", "MYSQL_ROOT_PASSWORD=x", "mysql"],
            "docker run -e MYSQL_ROOT_PASSWORD=*** mysql",
        ),
        (
            &["docker", "run", "--env=DB_PASS=x", "img"],
            "docker run --env=DB_PASS=*** img",
        ),
        (&["env", "SESSION=Zk3x9QmPq27TbLw05RnD"], "env SESSION=***"),
        (&["env", "SESSION=gnome"], "env SESSION=gnome"),
    ]);
}

#[test]
fn tools() {
    check(&[
        (
            &["mysql", "-uroot", "-psecret", "shop"],
            "mysql -uroot -p*** shop",
        ),
        (
            &["/usr/bin/mysqldump", "-psecret"],
            "/usr/bin/mysqldump -p***",
        ),
        (&["sudo", "mariadb", "-psecret"], "sudo mariadb -p***"),
        (&["mysql", "-p", "shop"], "mysql -p shop"),
        (
            &["mysql", "--port=3306", "--protocol=tcp"],
            "mysql --port=3306 --protocol=tcp",
        ),
        (
            &["mysqld", "--port=3306", "-pfoo"],
            "mysqld --port=3306 -pfoo",
        ),
        (
            &["sshpass", "-p", "x", "ssh", "host"],
            "sshpass -p *** ssh host",
        ),
        (
            &["sshpass", "-px", "ssh", "-p", "22", "h"],
            "sshpass -p*** ssh -p 22 h",
        ),
        (
            &["redis-cli", "-a", "x", "-p", "6379", "get", "k"],
            "redis-cli -a *** -p 6379 get k",
        ),
        (
            &["curl", "-u", "bob:secret", "http://h/"],
            "curl -u bob:*** http://h/",
        ),
        (
            &["curl", "--user=bob:secret", "http://h/"],
            "curl --user=bob:*** http://h/",
        ),
        (
            &["curl", "-ubob:secret", "http://h/"],
            "curl -ubob:*** http://h/",
        ),
        (&["curl", "-u", "bob", "http://h/"], "curl -u bob http://h/"),
        (
            &["docker", "login", "-u", "bob", "-p", "x"],
            "docker login -u bob -p ***",
        ),
        (
            &["docker", "run", "-p", "80:80", "nginx"],
            "docker run -p 80:80 nginx",
        ),
        (
            &["mongosh", "-u", "bob", "-p", "x"],
            "mongosh -u bob -p ***",
        ),
        (
            &["ldapsearch", "-w", "x", "-b", "dc=a"],
            "ldapsearch -w *** -b dc=a",
        ),
        (
            &["openssl", "rsa", "-passin", "pass:x"],
            "openssl rsa -passin pass:***",
        ),
        (
            &["openssl", "rsa", "-passin", "env:PW"],
            "openssl rsa -passin env:PW",
        ),
        (
            &["nginx:", "worker", "process", "-p", "x"],
            "nginx: worker process -p x",
        ),
    ]);
}

#[test]
fn urls() {
    check(&[
        (
            &["a", "postgres://bob:secret@db:5432/shop"],
            "a postgres://bob:***@db:5432/shop",
        ),
        (&["a", "redis://:secret@cache/0"], "a redis://:***@cache/0"),
        (&["a", "--url=https://u:p@h/x"], "a --url=https://u:***@h/x"),
        (&["a", "amqp://u:p@ss@h/x"], "a amqp://u:***@h/x"),
        (&["a", "amqp://u:p/w@h/x"], "a amqp://u:***@h/x"),
        (
            &["a", "mongodb+srv://u:p@h1,h2/db?w=1"],
            "a mongodb+srv://u:***@h1,h2/db?w=1",
        ),
        (
            &["git", "clone", "ssh://git@github.com/a/b"],
            "git clone ssh://git@github.com/a/b",
        ),
        (
            &["git", "clone", "https://Zk3x9QmPq27TbLw05RnD@h/a"],
            "git clone https://***@h/a",
        ),
        (&["a", "http://[::1]:80/x"], "a http://[::1]:80/x"),
        (&["a", "http://h:80/p@q"], "a http://h:80/p@q"),
        (
            &["a", "https://h/p?token=abc&page=2"],
            "a https://h/p?token=***&page=2",
        ),
        (
            &["a", "https://h/p?page=2&api_key=abc#top"],
            "a https://h/p?page=2&api_key=***#top",
        ),
        (
            &["a", "http://a:b@c http://d:e@f"],
            "a http://a:***@c http://d:***@f",
        ),
        (
            &["a", "DATABASE_URL=postgres://bob:secret@db/x"],
            "a DATABASE_URL=postgres://bob:***@db/x",
        ),
    ]);
}

#[test]
fn headers_and_documents() {
    check(&[
        (
            &["curl", "-H", "Authorization: Bearer abc.def"],
            "curl -H Authorization: Bearer ***",
        ),
        (
            &["curl", "-H", "authorization: Basic dTpw"],
            "curl -H authorization: Basic ***",
        ),
        (
            &["curl", "-H", "Authorization: rawsecret"],
            "curl -H Authorization: ***",
        ),
        (
            &["curl", "-HAuthorization: Bearer abc"],
            "curl -HAuthorization: Bearer ***",
        ),
        (
            &["curl", "--header=X-Api-Key: abc"],
            "curl --header=X-Api-Key: ***",
        ),
        (&["curl", "-H", "Cookie: a=b; sid=c"], "curl -H Cookie: ***"),
        (
            &["curl", "-H", "Accept: text/html"],
            "curl -H Accept: text/html",
        ),
        (
            &["a", "{\"user\":\"u\",\"password\":\"p,q\"}"],
            "a {\"user\":\"u\",\"password\":\"***\"}",
        ),
        (
            &["a", "{\"password\": \"p\\\"q\", \"x\": 1}"],
            "a {\"password\": \"***\", \"x\": 1}",
        ),
        (
            &["a", "{\\\"token\\\":\\\"p\\\"}"],
            "a {\\\"token\\\":\\\"***\\\"}",
        ),
        (
            &["a", "Server=db;User=u;Password=p;Port=1"],
            "a Server=db;User=u;Password=***;Port=1",
        ),
        (
            &["a", "host=db user=u password=p dbname=d"],
            "a host=db user=u password=*** dbname=d",
        ),
        (
            &["mount", "-o", "user=u,password=p,q,vers=3"],
            "mount -o user=u,password=***,vers=3",
        ),
        (
            &["a", "Authorization:", "Bearer", "abc"],
            "a Authorization: Bearer ***",
        ),
    ]);
}

#[test]
fn text_for_a_shell() {
    check(&[
        (
            &["sh", "-c", "PGPASSWORD=x psql -h db"],
            "sh -c PGPASSWORD=*** psql -h db",
        ),
        (
            &["sh", "-c", "mysql -psecret shop"],
            "sh -c mysql -p*** shop",
        ),
        (
            &["bash", "-lc", "app --password 'a b' --port 1"],
            "bash -lc app --password *** --port 1",
        ),
        (
            &["sh", "-c", "curl -H 'Authorization: Bearer abc' http://h/"],
            "sh -c curl -H 'Authorization: Bearer ***' http://h/",
        ),
        (
            &["sh", "-c", "app --password $PASSWORD"],
            "sh -c app --password $PASSWORD",
        ),
        (
            &["sh", "-c", "app --password \"${PW}\" x"],
            "sh -c app --password \"${PW}\" x",
        ),
    ]);
}

#[test]
fn shapes() {
    check(&[
        (&["a", "AKIAIOSFODNN7EXAMPLE"], "a AKIA***"),
        (
            &["a", "x=ghp_16C7e42F292c6912E7710c838347Ae178B4a"],
            "a x=ghp_***",
        ),
        (
            &[
                "a",
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            ],
            "a ***",
        ),
        (&["a", "sk-proj-abcdefghijklmnop1234"], "a sk-***"),
        (
            &["a", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc"],
            "a -----BEGIN RSA PRIVATE KEY-----***",
        ),
        (&["a", "AKIA"], "a AKIA"),
        (
            &["a", "task-with-a-rather-long-name-indeed"],
            "a task-with-a-rather-long-name-indeed",
        ),
        (
            &["a", "sk-with-a-rather-long-name-indeed"],
            "a sk-with-a-rather-long-name-indeed",
        ),
    ]);
}

#[test]
fn what_is_no_secret_stays() {
    for line in [
        "postgres: checkpointer",
        "/usr/sbin/nginx -g daemon off; master_process on;",
        "redis-server 127.0.0.1:6379",
        "node --max-old-space-size=4096 server.js --port=3000",
        "python3 -m uvicorn app:main --host 0.0.0.0 --workers 4",
        "java -Xmx2g -XX:+UseG1GC -cp /app/lib/a.jar:/app/lib/b.jar com.example.Main",
        "app --password-file /run/secrets/db --token-path=/run/t",
        "app --no-password --ask-pass --tokenizer bpe --max-tokens 4096",
        "app --password=true --token none",
        "ssh -p 22 -i /home/u/.ssh/id_ed25519 u@host",
        "git commit -m fix: token refresh",
        "kubelet --config=/var/lib/kubelet/config.yaml --container-runtime-endpoint=unix:///run/containerd/containerd.sock",
        "containerd-shim-runc-v2 -namespace moby -id 4f5b1c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6071829 -address /run/containerd/containerd.sock",
        "vim src/password.rs src/token.rs",
        "grep -r password /etc",
        "aws secretsmanager get-secret-value --secret-id=env:NAME",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mydb-abc",
        "ffmpeg -pass 1 -i in.mkv out.mkv",
        "/lib/systemd/systemd --switched-root --system --deserialize 31",
        "profiler --mode system --containers all --duration 10 --output reports/system.html",
        "rustc --crate-name foo -C metadata=0f1e2d3c4b5a6978 -C extra-filename=-0f1e2d3c4b5a6978",
        "openssl s_client -connect host:443 -servername host",
    ] {
        let argv: Vec<&str> = line.split(' ').collect();
        assert_eq!(masked(&argv), line);
    }
    assert_eq!(
        masked(&["nginx", "-g", "daemon off;"]),
        "nginx -g daemon off;"
    );
}

#[test]
fn length_is_bounded() {
    let long = "x".repeat(10_000);
    let line = masked(&["app", &long]);
    assert!(
        line.len() <= MAX_LENGTH && line.ends_with('…'),
        "{}",
        line.len()
    );

    let umlauts = "ü".repeat(10_000);
    assert!(masked(&["app", &umlauts]).len() <= MAX_LENGTH);

    let enormous = "x".repeat(MAX_INPUT);
    assert_eq!(masked(&["app", &enormous, "tail"]), "app…");
}

#[test]
fn a_secret_at_the_cut_does_not_show() {
    let padding = "x".repeat(MAX_LENGTH - 20);
    let line = masked(&["app", &padding, "--password=hunter2hunter2hunter2"]);
    assert!(!line.contains("hunter2"));
}

#[test]
fn hostile_text_is_harmless_and_fast() {
    let start = std::time::Instant::now();
    for text in [
        "=".repeat(60_000),
        "password=".repeat(6_000),
        "://".repeat(20_000),
        "a:".repeat(30_000),
        "://u:".repeat(12_000),
        "\"password\":\"".repeat(5_000),
        "' ".repeat(30_000),
        "eyJ".repeat(20_000),
        "ü=ß:".repeat(10_000),
        "-----BEGIN PRIVATE KEY-----".repeat(2_000),
    ] {
        let _ = masked(&["sh", "-c", &text]);
        let _ = masked(&[&text]);
    }
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    assert_eq!(
        masked(&["a", "\u{1b}[31m\u{202e}x\n"]),
        "a \u{fffd}[31m\u{fffd}x "
    );
    assert_eq!(masked(&[]), "");
    assert_eq!(
        masked(&["", "", "é=", "密码=x"]),
        "   é= 密码=x".trim_start()
    );
}
