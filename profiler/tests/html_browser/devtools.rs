//! A browser without a network, driven over the DevTools protocol on pipes.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const CHROMIUM: &str = "chromium";
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    next_id: u64,
    /// Events that no call has waited for.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// A tab.
pub struct Page {
    pub browser: Browser,
    session: String,
}

/// Where it is on the path.
fn chromium() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(CHROMIUM))
        .find(|file| file.is_file())
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends: [RawFd; 2] = [0; 2];
    // SAFETY: `ends` has room for the two descriptors that pipe2 writes.
    let result = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(result, 0, "pipe2");
    // SAFETY: both were just made and have no other owner.
    unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) }
}

/// Above 3 and 4, where Chromium expects its pipes.
fn out_of_the_way(fd: &OwnedFd) -> OwnedFd {
    // SAFETY: duplicates an open descriptor; the duplicate has no other owner.
    unsafe {
        let copy = libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 10);
        assert!(copy >= 10, "fcntl");
        OwnedFd::from_raw_fd(copy)
    }
}

impl Browser {
    /// # Panics
    ///
    /// Where there is no Chromium: a page that nobody opened is not tested.
    pub fn start() -> Self {
        let chromium = chromium().unwrap_or_else(|| {
            panic!(
                "no {CHROMIUM} is installed, which opens the report: install the package \
                 {CHROMIUM}, as `cargo xtask test` does"
            )
        });
        let profile = tempfile::tempdir().expect("a directory for the browser's profile");
        let (commands_out, commands_in) = pipe();
        let (answers_out, answers_in) = pipe();
        let (commands_out, answers_in) =
            (out_of_the_way(&commands_out), out_of_the_way(&answers_in));
        let mut command = Command::new(chromium);
        command
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-breakpad",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let (read, write) = (commands_out.as_raw_fd(), answers_in.as_raw_fd());
        // SAFETY: only system calls that are safe between fork and exec, on
        // descriptors that stay open until after the spawn.
        unsafe {
            command.pre_exec(move || {
                // Without privileges the page is still tested, with a network.
                libc::unshare(libc::CLONE_NEWNET);
                if libc::dup2(read, 3) < 0 || libc::dup2(write, 4) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("chromium starts");
        drop((commands_out, answers_in));
        let (sender, from) = mpsc::channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(File::from(answers_out));
            let mut message = Vec::new();
            while reader
                .read_until(0, &mut message)
                .is_ok_and(|size| size > 0)
            {
                message.pop();
                if let Ok(value) = serde_json::from_slice(&message)
                    && sender.send(value).is_err()
                {
                    break;
                }
                message.clear();
            }
        });
        Self {
            child,
            to: File::from(commands_in),
            from,
            next_id: 1,
            events: Vec::new(),
            _profile: profile,
        }
    }

    fn call(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser listens");
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answer = self
                .from
                .recv_timeout(left)
                .unwrap_or_else(|error| panic!("no answer to {method}: {error}"));
            if answer["id"] == id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    pub fn open(mut self, file: &Path) -> Page {
        let target = self.call(None, "Target.createTarget", json!({ "url": "about:blank" }));
        let attached = self.call(
            None,
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
        );
        let session = attached["sessionId"].as_str().expect("a session").into();
        let mut page = Page {
            browser: self,
            session,
        };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.resize(1280, 800);
        page.browser.events.clear();
        let url = format!("file://{}", file.display());
        page.call("Page.navigate", json!({ "url": url }));
        page.wait("document.documentElement?.dataset.ready");
        page
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // SAFETY: the group was made for this child, which is not reaped yet.
        unsafe { libc::kill(-(self.child.id() as i32), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

impl Page {
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        let session = self.session.clone();
        self.browser.call(Some(&session), method, parameters)
    }

    /// The value of an expression, awaited.
    pub fn eval(&mut self, expression: &str) -> Value {
        let result = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        assert!(
            result.get("exceptionDetails").is_none(),
            "{expression}: {result}"
        );
        result["result"]["value"].clone()
    }

    pub fn number(&mut self, expression: &str) -> f64 {
        let value = self.eval(expression);
        value
            .as_f64()
            .or_else(|| value.as_str()?.parse().ok())
            .unwrap_or_else(|| panic!("{expression} is {value}, no number"))
    }

    pub fn text(&mut self, expression: &str) -> String {
        let value = self.eval(expression);
        value
            .as_str()
            .unwrap_or_else(|| panic!("{expression} is {value}, no text"))
            .to_string()
    }

    pub fn wait(&mut self, expression: &str) {
        let until = Instant::now() + PATIENCE;
        let condition = format!("Boolean({expression})");
        while self.eval(&condition) != Value::Bool(true) {
            assert!(Instant::now() < until, "never became true: {expression}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Until two frames were painted, and animations are over.
    pub fn settle(&mut self) {
        self.eval(
            "new Promise(done => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 260))",
        );
    }

    pub fn resize(&mut self, width: u32, height: u32) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 }),
        );
    }

    pub fn scheme(&mut self, scheme: &str) {
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    pub fn click(&mut self, x: f64, y: f64) {
        for kind in ["mousePressed", "mouseReleased"] {
            self.call(
                "Input.dispatchMouseEvent",
                json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 }),
            );
        }
        self.settle();
    }

    /// Clicks what a selector finds, with the mouse.
    pub fn click_on(&mut self, selector: &str) {
        let center = self.eval(&format!(
            "(() => {{ const e = document.querySelector('{selector}'); e.scrollIntoView({{ block: 'center' }}); \
             const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; }})()"
        ));
        let at = |index: usize| center[index].as_f64().expect("a coordinate");
        self.click(at(0), at(1));
    }

    pub fn hover(&mut self, x: f64, y: f64) {
        self.call(
            "Input.dispatchMouseEvent",
            json!({ "type": "mouseMoved", "x": x, "y": y }),
        );
        self.settle();
    }

    /// Types into what has the focus.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
        self.settle();
    }

    /// Presses a key: a character, or a name such as `Enter` or `ArrowUp`.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let mut event = json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": code });
        if code == 0 || key == "Enter" {
            event["text"] = if code == 13 { "\r" } else { key }.into();
        }
        self.call("Input.dispatchKeyEvent", event);
        self.call(
            "Input.dispatchKeyEvent",
            json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }),
        );
        self.settle();
    }

    pub fn choose_option(&mut self, id: &str, value: &str) {
        self.eval(&format!(
            "(() => {{ const s = document.getElementById('{id}'); s.value = '{value}'; \
             s.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()"
        ));
        self.settle();
    }

    pub fn screenshot(&mut self, to: &Path) {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let data = shot["data"].as_str().expect("a picture");
        let bytes = BASE64_STANDARD.decode(data).expect("base64");
        std::fs::write(to, bytes).expect("the picture is written");
    }

    /// Errors on the console, exceptions, and violations of the policy.
    pub fn errors(&self) -> Vec<String> {
        self.browser
            .events
            .iter()
            .filter(|event| match event["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Runtime.consoleAPICalled") => {
                    matches!(event["params"]["type"].as_str(), Some("error" | "warning"))
                }
                Some("Log.entryAdded") => {
                    event["params"]["entry"]["level"].as_str() != Some("verbose")
                }
                _ => false,
            })
            .map(Value::to_string)
            .collect()
    }

    /// What the page asked for beside itself.
    pub fn requests(&self) -> Vec<String> {
        self.browser
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent")
            .map(|event| {
                event["params"]["request"]["url"]
                    .as_str()
                    .unwrap_or("?")
                    .to_string()
            })
            .filter(|url| !url.starts_with("file://") || !url.ends_with(".html"))
            .collect()
    }
}
