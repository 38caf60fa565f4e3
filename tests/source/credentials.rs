//! Credentials and certificates that are replaced while the program runs.

use serde_json::json;
use support::{
    behaviour::Behaviour,
    eventually,
    program::{PATIENCE, Program},
    sockets::{Authority, FakeCluster},
};

use super::restarted;

#[tokio::test]
async fn a_token_file_is_rotated() {
    let cluster = FakeCluster::new();
    cluster.server.accept_only("first");
    let address = cluster.server.listen(None).await;
    let file = cluster.write("token", "first");
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({"tokenFile": file}));
    let program = cluster.program().await;
    cluster.write("token", "second");
    cluster.server.accept_only("second");
    cluster.server.drop_watches();
    cluster.server.put("pods", restarted("cart", 1));
    cluster.finds(&program, &["cart-0"]).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_kubeconfig_is_replaced_by_one_with_another_token_and_address() {
    let cluster = FakeCluster::new();
    cluster.server.accept_only("first");
    let address = cluster.server.listen(None).await;
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({"token": "first"}));
    let program = cluster.program().await;
    cluster.server.hang_up().await;
    cluster.server.accept_only("second");
    let address = cluster.server.listen(None).await;
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({"token": "second"}));
    cluster.server.put("pods", restarted("cart", 1));
    cluster.finds(&program, &["cart-0"]).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_kubeconfig_is_broken_for_a_while() {
    let cluster = FakeCluster::new();
    cluster.server.accept_only("first");
    let address = cluster.server.listen(None).await;
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({"token": "first"}));
    let program = cluster.program().await;
    cluster.write("kubeconfig", "users: [{name: test, user: {token: s3cret");
    cluster.server.accept_only("second");
    cluster.server.drop_watches();
    cluster.server.put("pods", restarted("cart", 1));
    let said = eventually("a warning", PATIENCE, async || {
        program.stderr().contains("going on with the credentials read before").then_some(())
    });
    said.await.unwrap();
    assert!(!program.stderr().contains("s3cret"));
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({"token": "second"}));
    cluster.finds(&program, &["cart-0"]).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn the_serving_certificate_is_replaced() {
    let (cluster, authority) = (FakeCluster::new(), Authority::new());
    let address = cluster.server.listen(Some(authority.certify())).await;
    let bundle = cluster.write("ca.crt", &authority.pem());
    let server = json!({"certificate-authority": bundle});
    cluster.write_kubeconfig(&format!("https://{address}"), &server, &json!({}));
    let program = cluster.program().await;
    cluster.server.hang_up().await;
    cluster.server.listen_on(address, Some(authority.certify())).await;
    cluster.server.put("pods", restarted("cart", 1));
    cluster.finds(&program, &["cart-0"]).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn the_certificate_authority_is_replaced_and_its_bundle_later() {
    let (cluster, authority) = (FakeCluster::new(), Authority::new());
    let address = cluster.server.listen(Some(authority.certify())).await;
    let bundle = cluster.write("ca.crt", &authority.pem());
    let server = json!({"certificate-authority": bundle});
    cluster.write_kubeconfig(&format!("https://{address}"), &server, &json!({}));
    let program = cluster.program().await;

    let authority = Authority::new();
    cluster.server.hang_up().await;
    cluster.server.listen_on(address, Some(authority.certify())).await;
    cluster.server.put("pods", restarted("cart", 1));
    let said = eventually("a warning", PATIENCE, async || {
        let readyz = program.get("/readyz").await.unwrap();
        readyz.contains("invalid peer certificate").then_some(())
    });
    said.await.unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));
    assert!(program.findings().is_empty());

    cluster.write("ca.crt", &authority.pem());
    cluster.finds(&program, &["cart-0"]).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_credential_plugin_that_hangs_at_the_start_leaves_the_endpoint_up_and_is_said() {
    let cluster = FakeCluster::new();
    let address = cluster.server.listen(None).await;
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sleep",
        "args": ["30"],
        "interactiveMode": "Never",
    });
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({"exec": exec}));
    let program = Program::start(&cluster.kubeconfig(), &[], &[]);
    let said = eventually("a warning", PATIENCE, async || {
        program.stderr().contains("waiting for the credential plugin sleep").then_some(())
    });
    said.await.unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));
    assert!(program.get("/healthz").await.unwrap().contains("200 OK"));
    let not_ready = eventually("all watches in want of it", PATIENCE, async || {
        let readyz = program.get("/readyz").await.unwrap();
        assert!(readyz.contains("503 "), "{readyz}");
        (readyz.matches("the credential plugin sleep takes too long").count() > 1).then_some(())
    });
    not_ready.await.unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));
    let said = program.stderr();
    assert_eq!(said.matches("the credential plugin sleep takes too long").count(), 1, "{said}");
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn kills_are_told_though_nobody_says_which_rights_there_are() {
    let cluster = FakeCluster::new();
    cluster.server.misbehave(Behaviour::says(201, "{}"), |asked| asked.review.is_some());
    let address = cluster.server.listen(None).await;
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({}));
    cluster.server.put("pods", restarted("cart", 1));
    let program = cluster.program().await;
    cluster.finds(&program, &["cart-0"]).await;
    assert_eq!(program.stop().await, Some(0));
}
