//! How requests reach the API server: kube's layers over an HTTP client that reads in small pieces.
//!
//! This is what kube's `ClientBuilder` does, but for what can't be set there: of what comes fast,
//! hyper holds up to three buffers of 400 KB, which is a tenth of all memory.

use http::Uri;
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::{
        legacy::{
            self,
            connect::{Connection, HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::Intercept,
    },
    rt::TokioExecutor,
};
use kube::{
    Client, Config, Error,
    client::{Body, ConfigExt},
};
use tower::{BoxError, Service, ServiceBuilder};

/// How much is read at a time, in bytes. A record of TLS has 16 KB at most.
const BUFFER: usize = 32 * 1024;

/// Makes a client, perhaps through a proxy. It doesn't connect yet.
pub(super) fn client(config: &Config, proxy: Option<&Intercept>) -> Result<Client, Error> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    let Some(proxy) = proxy else { return over(config, connector) };
    match proxy.uri().scheme_str() {
        Some("http") => over(config, tunnel(proxy, connector)),
        Some("https") => {
            over(config, tunnel(proxy, config.rustls_https_connector_with_connector(connector)?))
        }
        _ => Err(Error::ProxyProtocolUnsupported { proxy_url: Box::new(proxy.uri().clone()) }),
    }
}

fn tunnel<C>(proxy: &Intercept, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    match proxy.basic_auth() {
        Some(credentials) => tunnel.with_auth(credentials.clone()),
        None => tunnel,
    }
}

/// Makes a client that connects so.
fn over<C>(config: &Config, connector: C) -> Result<Client, Error>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    let mut http = legacy::Client::builder(TokioExecutor::new());
    let http = http.http1_max_buf_size(BUFFER).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}
