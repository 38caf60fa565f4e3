//! How requests reach an API server: proxy, TLS, and an HTTP client that reads in small pieces.
//!
//! kube's own client would do, but for what can't be set there: of what comes fast, hyper holds up to three
//! buffers of 400 KB, which is a tenth of all memory; and TLS that knows what OpenSSL and Go know.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderValue, Request, Response, Uri,
    header::{AUTHORIZATION, PROXY_AUTHORIZATION},
    uri::Scheme,
};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        self,
        connect::{
            Connected, Connection, HttpConnector,
            proxy::{SocksV5, Tunnel},
        },
    },
    rt::{TokioExecutor, TokioIo},
};
use kube::client::Body;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tls::{ClientIdentity, SetupError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tower::{BoxError, Service, service_fn};

use crate::{access::ClusterAccess, proxy::ProxyRoute};

/// How long it may take to connect to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may have been idle that is used again. Whatever is on the way may have lost it since.
const REUSED_WITHIN: Duration = Duration::from_secs(10);

/// How much is read at a time. A record of TLS has 16 KB at most.
const MAX_BUFFER_BYTES: usize = 32 * 1024;

/// Why no connection is opened, where nothing below says it.
#[derive(Debug, Error)]
enum DialError {
    #[error("no connection within {CONNECT_TIMEOUT:?}")]
    Slow,
    #[error("the address names no host")]
    NoHost,
    #[error("the proxy's scheme {0:?} is not supported; http, https and socks5 are")]
    ProxyScheme(String),
}

/// Sends requests to one API server.
pub(crate) struct Transport {
    client: legacy::Client<Dialer, Body>,
    /// For a proxy that is handed each request as it is.
    proxy_authorization: Option<HeaderValue>,
}

impl Transport {
    /// Prepares connections. It opens none yet.
    ///
    /// # Errors
    ///
    /// There is nobody to trust, or the client certificate can't be used.
    pub(crate) fn new(access: &ClusterAccess, identity: Option<&ClientIdentity>) -> Result<Self, SetupError> {
        let is_tls = |uri: &Uri| uri.scheme() == Some(&Scheme::HTTPS);
        let needs_tls =
            is_tls(&access.address) || access.proxy.as_ref().is_some_and(|proxy| is_tls(&proxy.uri));
        let tls = needs_tls.then(|| tls::client_config(&access.trust, identity)).transpose()?;
        let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let dialer =
            Dialer { tcp, proxy: access.proxy.clone(), server_name: access.server_name.clone(), tls };
        let mut client = legacy::Client::builder(TokioExecutor::new());
        let proxy = access.proxy.as_ref().filter(|proxy| forwards(proxy, &access.address));
        let proxy_authorization = proxy.and_then(|proxy| proxy.authorization.clone());
        let client =
            client.http1_max_buf_size(MAX_BUFFER_BYTES).pool_idle_timeout(REUSED_WITHIN).build(dialer);
        Ok(Self { client, proxy_authorization })
    }

    /// Sends a request whose address is complete.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, legacy::Error> {
        if let Some(authorization) = &self.proxy_authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        self.client.request(request).await
    }
}

/// Returns a request as it goes out: with the API server's address, and in the name of whom `access` says.
///
/// # Errors
///
/// Its path can't be read.
pub(crate) fn addressed(
    request: Request<Body>,
    access: &ClusterAccess,
    authorization: Option<HeaderValue>,
) -> Result<Request<Body>, http::Error> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut address = access.address.clone().into_parts();
    address.path_and_query = Some(format!("{}{path}", access.address.path().trim_end_matches('/')).parse()?);
    head.uri = Uri::from_parts(address)?;
    for (name, value) in &access.impersonation {
        head.headers.append(name, value.clone());
    }
    if let Some(authorization) = authorization {
        head.headers.insert(AUTHORIZATION, authorization);
    }
    Ok(Request::from_parts(head, body))
}

/// A stream of bytes, whatever is below it.
trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Opens connections.
#[derive(Clone)]
struct Dialer {
    tcp: HttpConnector,
    proxy: Option<ProxyRoute>,
    /// To the API server, and to a proxy that speaks it.
    tls: Option<TlsConnector>,
    /// The name in the API server's certificate.
    server_name: Option<ServerName<'static>>,
}

impl Service<Uri> for Dialer {
    type Response = Link;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Link, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { timeout(CONNECT_TIMEOUT, dialer.dial(to)).await.map_err(|_| DialError::Slow)? })
    }
}

impl Dialer {
    async fn dial(self, to: Uri) -> Result<Link, BoxError> {
        let name = match &self.server_name {
            _ if to.scheme() != Some(&Scheme::HTTPS) => None,
            Some(name) => Some(name.clone()),
            None => Some(host(&to)?),
        };
        let forwarding = self.proxy.as_ref().filter(|proxy| forwards(proxy, &to));
        if let Some(proxy) = forwarding {
            let stream = self.clone().hop(proxy.uri.clone()).await?;
            return Ok(Link { stream, is_forwarded: true });
        }
        let stream = match &self.proxy {
            None => Box::new(self.tcp.clone().call(to).await?.into_inner()),
            Some(proxy) => self.through(proxy, to).await?,
        };
        let stream = match name {
            Some(name) => self.secured(stream, name).await?,
            None => stream,
        };
        Ok(Link { stream: TokioIo::new(stream), is_forwarded: false })
    }

    /// Opens a connection through a proxy.
    async fn through(&self, proxy: &ProxyRoute, to: Uri) -> Result<Box<dyn ByteStream>, BoxError> {
        let tcp = self.tcp.clone();
        match proxy.uri.scheme_str().unwrap_or_default() {
            "socks5" => {
                let mut socks = SocksV5::new(proxy.uri.clone(), tcp);
                if let Some((user, password)) = proxy.login.clone() {
                    socks = socks.with_auth(user, password);
                }
                Ok(Box::new(socks.call(to).await?.into_inner()))
            }
            "http" | "https" => {
                let dialer = self.clone();
                let hop = service_fn(move |uri| dialer.clone().hop(uri));
                let mut tunnel = Tunnel::new(proxy.uri.clone(), hop);
                if let Some(authorization) = proxy.authorization.clone() {
                    tunnel = tunnel.with_auth(authorization);
                }
                Ok(tunnel.call(to).await?.into_inner())
            }
            scheme => Err(DialError::ProxyScheme(scheme.to_owned()).into()),
        }
    }

    /// Opens a connection to a proxy.
    async fn hop(self, to: Uri) -> Result<TokioIo<Box<dyn ByteStream>>, BoxError> {
        let name = if to.scheme() == Some(&Scheme::HTTPS) { Some(host(&to)?) } else { None };
        let stream: Box<dyn ByteStream> = Box::new(self.tcp.clone().call(to).await?.into_inner());
        Ok(TokioIo::new(match name {
            Some(name) => self.secured(stream, name).await?,
            None => stream,
        }))
    }

    /// Speaks TLS over a stream.
    async fn secured(
        &self,
        stream: Box<dyn ByteStream>,
        name: ServerName<'static>,
    ) -> Result<Box<dyn ByteStream>, BoxError> {
        match &self.tls {
            Some(tls) => Ok(Box::new(tls.connect(name, stream).await?)),
            None => Ok(stream),
        }
    }
}

/// Returns the host of an address, as a certificate names it.
fn host(address: &Uri) -> Result<ServerName<'static>, BoxError> {
    let host = address.host().ok_or(DialError::NoHost)?;
    Ok(ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned())?)
}

/// Returns whether a proxy is handed requests to this address as they are. Through others it opens a tunnel,
/// which many proxies allow for https alone.
fn forwards(proxy: &ProxyRoute, address: &Uri) -> bool {
    let is_http = |scheme: Option<&str>| matches!(scheme, Some("http" | "https"));
    address.scheme() == Some(&Scheme::HTTP) && is_http(proxy.uri.scheme_str())
}

/// A connection, as hyper wants it.
struct Link {
    stream: TokioIo<Box<dyn ByteStream>>,
    /// Whether a proxy reads the requests: then each names its whole address.
    is_forwarded: bool,
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_forwarded)
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
