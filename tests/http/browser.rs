//! Chromium without a window, which the tests drive by its DevTools protocol: JSON with a zero byte behind it, through two
//! pipes, so that it needs no port.

use crate::support::DEADLINE;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Browser {
    process: Child,
    /// `None` once it is to end.
    commands: Option<ChildStdin>,
    messages: Receiver<Value>,
    /// The number of the last command.
    number: u64,
    /// Messages that are no answers.
    events: Vec<Value>,
    /// The session of its one page.
    session: Option<String>,
    _folder: TempDir,
}

impl Browser {
    pub fn start() -> Browser {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let profile = format!("--user-data-dir={}", folder.path().display());
        // The browser speaks on the descriptors 3 and 4.
        let mut process = Command::new("sh")
            .args([
                "-c",
                "exec chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null",
                "sh",
            ])
            .args(["--headless=new", "--remote-debugging-pipe", &profile])
            // Root has no sandbox, and the only page that it opens is ours. Containers have a small /dev/shm.
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            // It asks nobody else anything.
            .args(["--no-first-run", "--disable-background-networking"])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--no-proxy-server",
            ])
            .arg("about:blank")
            .env("HOME", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let (to, messages) = channel();
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON");
                if to.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Browser {
            commands: process.stdin.take(),
            process,
            messages,
            number: 0,
            events: Vec::new(),
            session: None,
            _folder: folder,
        };
        browser.open_page();
        browser
    }

    fn open_page(&mut self) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", target);
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime", "Log", "Network", "Page"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// Calls a method of the protocol, and returns its result.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut command = json!({ "id": self.number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let commands = self.commands.as_mut().expect("it runs");
        let written = commands.write_all(format!("{command}\0").as_bytes());
        written.expect("it reads");
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left);
            let message = message.unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.number {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// Lets requests carry these headers.
    pub fn set_headers(&mut self, headers: Value) {
        self.call("Network.setExtraHTTPHeaders", json!({ "headers": headers }));
    }

    pub fn go_to(&mut self, url: &str) {
        let went = self.call("Page.navigate", json!({ "url": url }));
        assert!(went["errorText"].is_null(), "{url}: {went}");
    }

    /// Sets the size of the window and the scheme of colours that the reader prefers.
    pub fn set_look(&mut self, width: u32, scheme: &str) {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": [feature] }),
        );
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let evaluated = self.call("Runtime.evaluate", parameters);
        let fault = &evaluated["exceptionDetails"];
        assert!(fault.is_null(), "{expression}: {fault}");
        evaluated["result"]["value"].clone()
    }

    /// The text of the element with that id.
    pub fn text(&mut self, id: &str) -> String {
        let text = self.value(&format!("document.getElementById('{id}').innerText"));
        text.as_str().expect("a text").replace('\u{a0}', " ")
    }

    /// Waits until an expression in the page is true.
    pub fn wait_until(&mut self, expression: &str) {
        let end = Instant::now() + DEADLINE;
        while self.value(expression) != true {
            assert!(Instant::now() < end, "this didn't happen: {expression}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Saves a picture of the whole page, for people to look at.
    pub fn save_picture(&mut self, path: &Path) {
        use base64::Engine as _;
        let height = self.value("document.documentElement.scrollHeight");
        let width = self.value("innerWidth");
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let parameters = json!({ "captureBeyondViewport": true, "clip": clip });
        let picture = self.call("Page.captureScreenshot", parameters);
        let picture = picture["data"].as_str().expect("a picture");
        let picture = base64::engine::general_purpose::STANDARD.decode(picture);
        std::fs::write(path, picture.expect("base64")).expect("a folder of ours");
    }

    /// All that went wrong so far in the page: exceptions, lines of the console, and failed requests.
    pub fn faults(&mut self) -> Vec<String> {
        // What happened before this command comes before its answer.
        self.value("0");
        const FAULTS: [&str; 4] = [
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Network.loadingFailed",
        ];
        let is_fault = |event: &&Value| {
            // The page ends the stream itself when it begins another one.
            let is_end =
                event["params"]["canceled"] == true && event["params"]["type"] == "EventSource";
            !is_end && FAULTS.iter().any(|fault| event["method"] == *fault)
        };
        self.events
            .iter()
            .filter(is_fault)
            .map(Value::to_string)
            .collect()
    }

    /// The addresses that the page has asked for.
    pub fn requested(&mut self) -> Vec<String> {
        self.value("0");
        let requests = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        let urls = requests.map(|event| event["params"]["request"]["url"].as_str());
        urls.map(|url| url.expect("a URL").to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends when nobody can give it commands, and all of its processes with it.
        self.commands = None;
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
