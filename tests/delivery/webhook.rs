//! How is Slack reached from where it can't be reached directly? The whole program, a Slack behind a
//! certificate of a private authority, and a proxy, all on real sockets.

use std::{net::SocketAddr, sync::Arc};

use serde_json::json;
use support::{
    behaviour::Behaviour,
    eventually,
    program::{PATIENCE, Program},
    slack::Slack,
    sockets::{Authority, FakeCluster},
};
use tokio::task::JoinSet;

use crate::{
    cluster::proxy::{Log, serve_proxy},
    source::restarted,
};

/// Nothing that the program writes may show these.
const SECRETS: [&str; 3] = ["services", "s3cr3t", "pa55word"];

/// A kill, Slack and a proxy. Everything ends with it.
struct ProxiedSlack {
    cluster: FakeCluster,
    authority: String,
    slack: Slack,
    proxy: SocketAddr,
    tunnels: Log,
    _servers: JoinSet<()>,
}

impl ProxiedSlack {
    async fn new() -> Self {
        let (cluster, authority) = (FakeCluster::new(), Authority::new());
        let address = cluster.server.listen(None).await;
        cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({}));
        let (mut servers, tunnels) = (JoinSet::new(), Log::default());
        let slack = Slack::listen_as(Some(authority.certify()), |_| Behaviour::good()).await;
        let proxy = serve_proxy(slack.address, Arc::clone(&tunnels), &mut servers).await;
        let authority = cluster.write("ca.crt", &authority.pem()).to_str().unwrap().to_owned();
        Self { cluster, authority, slack, proxy, tunnels, _servers: servers }
    }

    /// The program, which sees a kill and has Slack for its sink.
    async fn program(&self, environment: &[(&str, &str)]) -> Program {
        let webhook = format!("https://localhost:{}/services/T0/B0/s3cr3t", self.slack.address.port());
        let mut all = vec![
            ("OOM_SINKS__TEAM__TYPE", "slack"),
            ("OOM_SINKS__TEAM__WEBHOOK_URL", &webhook),
            ("OOM_SINKS__TEAM__GROUP_WAIT", "0s"),
            ("OOM_SHUTDOWN_GRACE", "1s"),
        ];
        all.extend(environment);
        let program = self.cluster.program_in(&all).await;
        self.cluster.server.put("pods", restarted("cart", 1));
        program
    }

    /// Where the proxy is, and what it wants to know.
    fn proxy(&self) -> String {
        format!("http://user:pa55word@{}", self.proxy)
    }

    /// Waits until Slack has a message, and what the proxy was asked until then.
    async fn delivered(&self, program: Program) -> Vec<String> {
        let told = eventually("a message", PATIENCE, async || {
            (program.metric("deliveries_total{sink=\"team\",outcome=\"delivered\"}").await == 1).then_some(())
        });
        told.await.unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));
        let [message] = &self.slack.messages()[..] else { panic!("not one message") };
        assert_eq!(message.path, "/services/T0/B0/s3cr3t");
        shows_no_secret(&program).await;
        assert_eq!(program.stop().await, Some(0));
        self.tunnels.lock().unwrap().clone()
    }

    /// Waits until the program says this of what goes wrong. Slack gets nothing.
    async fn fails(&self, program: Program, reason: &str) {
        let said = eventually(reason, PATIENCE, async || program.stderr().contains(reason).then_some(()));
        said.await.unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));
        assert!(self.slack.messages().is_empty());
        shows_no_secret(&program).await;
        assert_eq!(program.stop().await, Some(1));
    }
}

async fn shows_no_secret(program: &Program) {
    let metrics = program.get("/metrics").await.unwrap();
    for secret in SECRETS {
        for text in [&program.stderr(), &program.stdout(), &metrics] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn through_a_proxy_to_a_certificate_of_a_private_authority() {
    for name in ["HTTPS_PROXY", "https_proxy"] {
        let world = ProxiedSlack::new().await;
        let proxy = world.proxy();
        // The API server of the test is at 127.0.0.1 too, but not meant.
        let environment =
            [("SSL_CERT_FILE", world.authority.as_str()), (name, &proxy), ("NO_PROXY", "127.0.0.1")];
        let program = world.program(&environment).await;
        let asked = world.delivered(program).await;
        assert_eq!(asked, [format!("CONNECT localhost:{} HTTP/1.1", world.slack.address.port())], "{name}");
    }
}

#[tokio::test]
async fn past_a_proxy_that_slack_is_excepted_from() {
    for name in ["NO_PROXY", "no_proxy"] {
        let world = ProxiedSlack::new().await;
        let proxy = world.proxy();
        let environment = [
            ("SSL_CERT_FILE", world.authority.as_str()),
            ("HTTPS_PROXY", &proxy),
            (name, "example.com,localhost,127.0.0.1"),
        ];
        let program = world.program(&environment).await;
        assert_eq!(world.delivered(program).await, [""; 0], "{name}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_not_trusted() {
    let world = ProxiedSlack::new().await;
    let program = world.program(&[]).await;
    world.fails(program, "invalid peer certificate: UnknownIssuer").await;
}

#[tokio::test]
async fn a_proxy_that_refuses_is_asked_again_and_its_password_not_shown() {
    let world = ProxiedSlack::new().await;
    let proxy = world.proxy().replace("user:", "other:");
    let environment =
        [("SSL_CERT_FILE", world.authority.as_str()), ("HTTPS_PROXY", &proxy), ("NO_PROXY", "127.0.0.1")];
    let program = world.program(&environment).await;
    let again = eventually("a second attempt", PATIENCE, async || {
        (world.tunnels.lock().unwrap().len() > 1).then_some(())
    });
    again.await.unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));
    world.fails(program, "proxy").await;
}
