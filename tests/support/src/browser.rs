//! A headless Chromium, spoken to through a pipe by its `DevTools` protocol. It ends when the pipe closes.

use std::{collections::VecDeque, process::Stdio, time::Duration};

use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::Error;

/// The names that distributions give it.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Gives the browser its pipe where it expects it, as files 3 and 4.
const WITH_PIPE: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// A browser with one page.
pub struct Browser {
    _child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    sent: u64,
    events: VecDeque<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts the browser.
    ///
    /// # Errors
    ///
    /// There is none, or it doesn't start.
    pub async fn start() -> Result<Self, Error> {
        let tried = |error| Error::new("starting a headless Chromium", error);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .flat_map(|folder| NAMES.map(|name| folder.join(name)))
            .find(|candidate| candidate.is_file());
        let Some(program) = found else {
            let remedy = "there is no chromium on $PATH: install one (Debian: apt-get install chromium)";
            return Err(Error::new("looking for a browser", remedy));
        };
        let profile = tempfile::tempdir().map_err(tried)?;
        let mut child = Command::new("sh")
            .args(["-c", WITH_PIPE])
            .arg(program)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--remote-debugging-pipe", "--hide-scrollbars", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(tried)?;
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut browser = Self {
            _child: child,
            to,
            from: BufReader::new(from),
            session: None,
            sent: 0,
            events: VecDeque::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(browser)
    }

    /// Calls a method of the `DevTools` protocol.
    ///
    /// # Errors
    ///
    /// The browser refuses it, or doesn't answer.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Result<Value, Error> {
        self.sent += 1;
        let mut request = json!({"id": self.sent, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        let sent = self.to.write_all(format!("{request}\0").as_bytes()).await;
        sent.map_err(|error| Error::new(format!("calling {method}"), error))?;
        loop {
            let message = self.read(method).await?;
            if message["id"] != self.sent {
                self.events.push_back(message);
            } else if message["error"].is_null() {
                return Ok(message["result"].clone());
            } else {
                return Err(Error::new(format!("calling {method}"), &message["error"]));
            }
        }
    }

    async fn read(&mut self, waiting_for: &str) -> Result<Value, Error> {
        let tried = format!("waiting for {waiting_for}");
        let mut message = Vec::new();
        match timeout(PATIENCE, self.from.read_until(0, &mut message)).await {
            Ok(Ok(read)) if read > 0 => {
                message.pop();
                serde_json::from_slice(&message).map_err(|error| Error::new(tried, error))
            }
            Ok(Ok(_)) => Err(Error::new(tried, "the browser has ended")),
            Ok(Err(error)) => Err(Error::new(tried, error)),
            Err(elapsed) => Err(Error::new(tried, elapsed)),
        }
    }

    /// Opens a page in a window of this size, dark or not, and waits until it has loaded. Returns what happened
    /// meanwhile, as events of the protocol.
    ///
    /// # Errors
    ///
    /// The browser refuses it.
    pub async fn open(&mut self, url: &str, width: u32, dark: bool) -> Result<Vec<Value>, Error> {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size).await?;
        let scheme = json!({"name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" }});
        self.call("Emulation.setEmulatedMedia", json!({"features": [scheme]})).await?;
        self.events.clear();
        self.call("Page.navigate", json!({"url": url})).await?;
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.read("the page").await?;
            self.events.push_back(event);
        }
        // What the page did until now is told before this is answered.
        self.evaluate("document.readyState").await?;
        Ok(self.events.drain(..).collect())
    }

    /// Returns what an expression has as its value, once it is settled.
    ///
    /// # Errors
    ///
    /// It throws.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value, Error> {
        let request = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", request).await?;
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].clone()),
            thrown => Err(Error::new("evaluating an expression", thrown)),
        }
    }

    /// Returns a picture of the whole page, as PNG.
    ///
    /// # Errors
    ///
    /// The browser refuses it.
    pub async fn screenshot(&mut self) -> Result<Vec<u8>, Error> {
        let answer = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true})).await?;
        let bytes: ByteString = serde_json::from_value(answer["data"].clone())
            .map_err(|error| Error::new("reading a picture", error))?;
        Ok(bytes.0)
    }
}
