//! A program that listens: its database on the Redis protocol, beside its own calls.

use super::listen::Door;
use super::{Server, TEND_INTERVAL, refuse_what_is_unsafe_to_ignore};
use crate::db::Db;
use crate::db::home::Home;
use crate::error::{Error, StorageError};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A database that listens, until this is dropped or a client sends SHUTDOWN. Then the
/// connections are closed; the database stays open.
#[derive(Debug)]
#[must_use = "it listens until this is dropped"]
pub struct Listening {
    address: SocketAddr,
    /// Dropping it ends the task.
    _until: oneshot::Sender<()>,
}

impl Listening {
    /// Where it listens; of port 0, the port that was free.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Db {
    /// Listens on an address, so that redis-cli can look inside and other processes can join. The
    /// connections are served by the shards' threads; who may do what is as in a server.
    ///
    /// Needs no runtime, and may be called inside any.
    ///
    /// # Errors
    /// [`Error::Storage`] naming what cannot be listened on, [`Error::Config`] for settings that
    /// it would be unsafe to ignore, [`Error::Stopped`].
    ///
    /// # Examples
    /// ```
    /// use millstream::Db;
    ///
    /// let db = Db::builder().memory().open()?;
    /// let listening = db.serve("127.0.0.1:0")?;
    /// let _url = format!("redis://{}", listening.address());
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn serve(&self, address: impl ToSocketAddrs) -> Result<Listening, Error> {
        let config = self.core().config();
        refuse_what_is_unsafe_to_ignore(&config)?;
        let (listener, address) =
            bind(address).map_err(|error| StorageError::io("address", "listen on", &error))?;
        let server = Server::new(self.core().clone());
        let (until, ended) = oneshot::channel();
        self.core().stats.tcp_port.set(u64::from(address.port()));
        let port = address.port();
        let described = format!("name=tcp,bind={},port={port}", address.ip());
        self.core().stats.set_listeners(vec![described]);
        self.core().call(0, move |_: &Rc<Home>| {
            tokio::task::spawn_local(serve(server, listener, ended));
        })?;
        Ok(Listening { address, _until: until })
    }
}

fn bind(address: impl ToSocketAddrs) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn serve(server: Arc<Server>, listener: TcpListener, ended: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the database does not listen: {error}"),
    };
    let tend = async {
        loop {
            let core = &server.core;
            server.clients.tend(&core.config(), core.now().0, &core.stats);
            tokio::time::sleep(TEND_INTERVAL).await;
        }
    };
    tokio::select! {
        () = Door::at(listener).let_in(server.clone()) => {}
        () = tend => {}
        () = server.stop.notified() => tracing::info!("SHUTDOWN: the database listens no more"),
        _ = ended => {}
    }
    server.core.stats.set_listeners(Vec::new());
    server.clients.list().iter().for_each(|client| client.kill());
}
