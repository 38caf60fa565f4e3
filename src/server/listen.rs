//! Opens the port of the HTTP endpoint.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};

/// How many connections may wait to be accepted, if the system allows as many. One more would be answered only
/// when it asks again, a second later.
const MAX_QUEUED_CONNECTIONS: u32 = 4096;

/// How much of a request the system may hold that nobody has read. (Linux takes twice as much.)
const RECEIVE_BUFFER_BYTES: u32 = 8 * 1024;

/// How much of an answer the system may hold that nobody has read. (Linux takes twice as much.)
const SEND_BUFFER_BYTES: u32 = 16 * 1024;

/// The program can't listen on the address.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't listen on {address} for metrics and probes: {source}. \
     Set server.listen to a free address, or server to null"
)]
pub struct BindError {
    /// The configured address.
    pub address: SocketAddr,
    source: io::Error,
}

/// Listens on the address; on `0.0.0.0` if it is `[::]` and IPv6 is off.
///
/// Outside of a Pod, logs a warning and returns `None` if the port is taken.
///
/// # Errors
///
/// The program can't listen on the address. A port that is taken is an error only in a Pod, because probes
/// need it there.
pub fn bind(address: SocketAddr, in_pod: bool) -> Result<Option<TcpListener>, BindError> {
    match with_fallback(address, listen) {
        Ok(listener) => {
            if let Ok(address) = listener.local_addr() {
                tracing::info!("listening on {address}");
            }
            Ok(Some(listener))
        }
        Err(source) => {
            let taken = is_taken(&source);
            let error = BindError { address, source };
            if in_pod || !taken {
                return Err(error);
            }
            tracing::warn!("{error}. Continuing without metrics and probes");
            Ok(None)
        }
    }
}

/// Listens on `0.0.0.0` if the address is `[::]` and IPv6 is off. If both fail, the error of `[::]` counts,
/// unless the port is taken.
fn with_fallback<T>(address: SocketAddr, listen: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    match (listen(address), without_ipv6(address)) {
        // If the port is taken, listening on its IPv4 half alone would be a surprise.
        (Err(error), Some(fallback)) if !is_taken(&error) => {
            listen(fallback).map_err(|other| if is_taken(&other) { other } else { error })
        }
        (bound, _) => bound,
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Each connection that is accepted inherits the sizes.
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(MAX_QUEUED_CONNECTIONS)
}

fn without_ipv6(address: SocketAddr) -> Option<SocketAddr> {
    let everywhere = address.is_ipv6() && address.ip().is_unspecified();
    everywhere.then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_an_error_in_a_pod_and_a_warning_outside() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into(), true).unwrap().unwrap();
        let taken = listener.local_addr().unwrap();
        let error = bind(taken, true).unwrap_err();
        assert!(error.to_string().contains(&format!("can't listen on {taken}")), "{error}");
        assert!(bind(taken, false).unwrap().is_none());
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_an_error_anywhere() {
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
        assert!(bind(elsewhere, false).is_err());
    }

    #[test]
    fn a_taken_port_is_recognised_without_ipv6() {
        use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied, Unsupported};
        let everywhere = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 10254));
        for (ipv6, ipv4, shown) in [
            (Unsupported, AddrInUse, AddrInUse),
            (AddrNotAvailable, PermissionDenied, AddrNotAvailable),
            (AddrInUse, Unsupported, AddrInUse),
        ] {
            let fails = |address: SocketAddr| {
                Err::<(), _>(io::Error::from(if address.is_ipv6() { ipv6 } else { ipv4 }))
            };
            assert_eq!(with_fallback(everywhere, fails).unwrap_err().kind(), shown);
        }
    }

    #[test]
    fn only_the_address_for_everything_has_a_fallback() {
        let parse = |address: &str| address.parse::<SocketAddr>().unwrap();
        assert_eq!(without_ipv6(parse("[::]:10254")), Some(parse("0.0.0.0:10254")));
        assert_eq!(without_ipv6(parse("[::1]:10254")), None);
        assert_eq!(without_ipv6(parse("127.0.0.1:10254")), None);
    }
}
