//! Where instances come in: a TCP listener, and a unix socket for each guest that we run.
//!
//! What must stay true: [`Who`] is set here from the connection alone, and once for all its requests.

use crate::listen::{Bounds, Door, prepare};
use axum::{Extension, Router};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever has this address.
    Address(IpAddr),
    /// Whoever has this address, which is one of this machine's or the one that was asked: it, or a guest that it lets out through itself.
    ThisMachine(IpAddr),
    /// This instance.
    Instance(String),
}

/// What answers leave by, as far as their hops can be limited.
#[derive(Clone)]
pub(super) enum Wire {
    /// A unix socket: there are none.
    NoHops,
    /// A socket.
    Socket(Arc<OwnedFd>),
    /// A socket of which we could not keep hold: no descriptors are left.
    Lost,
}

impl Wire {
    fn of(stream: &TcpStream) -> Self {
        match stream.as_fd().try_clone_to_owned() {
            Ok(socket) => Self::Socket(Arc::new(socket)),
            Err(_) => Self::Lost,
        }
    }

    /// All that leaves from now on goes one hop. Never taken back: who got an answer so far gets the others as well.
    pub(super) fn limit_to_one_hop(&self) -> io::Result<()> {
        use rustix::net::sockopt;
        let socket = match self {
            Self::NoHops => return Ok(()),
            Self::Socket(socket) => socket,
            Self::Lost => return Err(io::Error::other("there was no descriptor left for its socket")),
        };
        // A socket of IPv6 has both, for addresses of IPv4 that are written so; one of IPv4 does not know the other.
        let six = sockopt::set_ipv6_unicast_hops(socket, Some(1));
        match sockopt::set_ip_ttl(socket, 1) {
            Ok(()) => Ok(()),
            Err(_) if six.is_ok() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether this machine has the address: only those can be bound, and no packet is sent for that. Whatever else is in the way of it says
/// nothing, and is taken for a yes, which at worst tells somebody nothing. Loopback addresses are the machine's, too, and are left out:
/// they name instances that others run on it.
fn is_ours(address: IpAddr) -> bool {
    let is_elsewhere = |error: io::Error| error.kind() == io::ErrorKind::AddrNotAvailable;
    !address.is_loopback() && !UdpSocket::bind((address, 0)).is_err_and(is_elsewhere)
}

/// For one connection too many.
const TURNED_AWAY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Connections that one address may have at once, so that nobody can take all there are.
const ADDRESS_CONNECTIONS: usize = 32;

/// How many connections each address has.
#[derive(Clone, Debug, Default)]
struct Crowd(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place in it, for as long as the connection lives.
#[derive(Debug)]
struct Place {
    crowd: Crowd,
    address: IpAddr,
}

impl Crowd {
    fn places(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut places = self.places();
        let taken = places.entry(address).or_default();
        if *taken >= ADDRESS_CONNECTIONS {
            return None;
        }
        *taken += 1;
        Some(Place {
            crowd: self.clone(),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.crowd.places();
        if let Some(taken) = places.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                places.remove(&self.address);
            }
        }
    }
}

/// The TCP listener.
pub(super) struct NetworkDoor {
    listener: TcpListener,
    crowd: Crowd,
}

impl NetworkDoor {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            crowd: Crowd::default(),
        }
    }
}

/// Who has connected, and where in the crowd.
#[derive(Debug)]
pub(super) struct Visitor {
    peer: SocketAddr,
    place: Arc<Place>,
}

impl Door for NetworkDoor {
    type Stream = TcpStream;
    type Peer = Visitor;

    async fn accept(&self) -> io::Result<(TcpStream, Visitor)> {
        loop {
            let (stream, peer) = self.listener.accept().await?;
            match self.crowd.enter(peer.ip().to_canonical()) {
                Some(place) => {
                    let place = Arc::new(place);
                    return Ok((stream, Visitor { peer, place }));
                }
                None => {
                    tracing::debug!(%peer, "an address has too many connections: one is closed");
                    Self::turn_away(&stream);
                }
            }
        }
    }

    fn enter(stream: &TcpStream, visitor: &Visitor, router: Router, bounds: &Bounds) -> Router {
        prepare(stream, &visitor.peer, bounds);
        let address = visitor.place.address;
        let who = match stream.local_addr() {
            Ok(own) if own.ip().to_canonical() != address && !is_ours(address) => Who::Address(address),
            _ => Who::ThisMachine(address),
        };
        router
            .layer(Extension(who))
            .layer(Extension(Wire::of(stream)))
            // It goes with the last of the connection's requests.
            .layer(Extension(Arc::clone(&visitor.place)))
    }

    fn turn_away(stream: &TcpStream) {
        let _ = stream.try_write(TURNED_AWAY);
    }
}

/// One guest's socket.
pub(super) struct GuestDoor {
    listener: UnixListener,
    instance_id: String,
}

impl GuestDoor {
    /// Makes the socket, for its owner alone. It is made beside its place and moved there, so that nobody finds it open to
    /// others, and what was left there from before is replaced in one step.
    pub(super) fn open(instance_id: &str, path: &Path) -> io::Result<Self> {
        let beside = path.with_extension("new");
        for (old, name) in [(path, "path"), (beside.as_path(), "temporary path")] {
            match std::fs::symlink_metadata(old) {
                Ok(found) if !found.file_type().is_socket() => {
                    let why = format!("the socket's {name} {} is another file", old.display());
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
                }
                Ok(_) if old == beside => std::fs::remove_file(old)?,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let listener = UnixListener::bind(&beside)?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&beside, path)?;
        Ok(Self {
            listener,
            instance_id: instance_id.to_owned(),
        })
    }

    /// What its requests are told of who asks.
    pub(super) fn who(&self) -> Extension<Who> {
        Extension(Who::Instance(self.instance_id.clone()))
    }
}

impl Door for GuestDoor {
    type Stream = UnixStream;
    type Peer = ();

    async fn accept(&self) -> io::Result<(UnixStream, ())> {
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, ()))
    }

    fn enter(_stream: &UnixStream, _peer: &(), router: Router, _bounds: &Bounds) -> Router {
        // Who it is was told to the router when the door was opened.
        router.layer(Extension(Wire::NoHops))
    }

    fn turn_away(stream: &UnixStream) {
        let _ = stream.try_write(TURNED_AWAY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_are_told_apart() {
        assert!(!is_ours(IpAddr::from([192, 0, 2, 1])));
        assert!(!is_ours(IpAddr::from([127, 0, 0, 5])));
        // By which it would go elsewhere, if it has one. No packet is sent.
        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        if socket.connect(("192.0.2.1", 9)).is_ok() {
            let own = socket.local_addr().unwrap().ip();
            assert!(own.is_loopback() || is_ours(own), "{own}");
        }
    }

    #[test]
    fn one_address_cannot_take_all_connections() {
        let (crowd, one) = (Crowd::default(), IpAddr::from([10, 0, 0, 1]));
        let mut held: Vec<Place> = (0..ADDRESS_CONNECTIONS)
            .filter_map(|_| crowd.enter(one))
            .collect();
        assert_eq!(held.len(), ADDRESS_CONNECTIONS);
        assert!(crowd.enter(one).is_none());
        assert!(crowd.enter(IpAddr::from([10, 0, 0, 2])).is_some());
        held.pop();
        assert!(crowd.enter(one).is_some());
        drop(held);
        assert!(crowd.places().is_empty(), "what is over is forgotten");
    }
}
