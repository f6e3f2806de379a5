//! What clients get while the data is being loaded: `LOADING`, and in INFO how far it has come.
//! A connection that is between two requests when that ends becomes a client of the server.

use super::listen::{Door, refuse};
use super::resp::{ReadLimits, RequestReader};
use super::socket::{Origin, Reader, Socket, Writer};
use crate::command::args::is_word;
use crate::config::Config;
use crate::shard::recovery::LoadProgress;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinSet;

const LOADING: &[u8] = b"-LOADING Redis is loading the dataset in memory\r\n";
/// For so long nobody is told to wait; who connects meanwhile waits unaccepted. Chosen: less than
/// what a client library waits for its handshake.
const PATIENCE: Duration = Duration::from_millis(250);
/// A client that sends more than so many bytes before it has its answer is closed.
const UNREAD_MAX: usize = 1 << 20;

/// Answers clients until `opening` is done. Returns what that gave, and the clients that stay.
pub(super) async fn answer<R>(
    door: &Door,
    config: &Config,
    progress: Arc<LoadProgress>,
    opening: impl Future<Output = R>,
) -> (R, Vec<(Socket, Origin)>) {
    let told = Arc::new(Told {
        progress,
        began: Instant::now(),
        began_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        may_ask: config.requirepass.is_empty(),
    });
    let mut opening = pin!(opening);
    // A client that connects to a server with little to load is better served a moment later.
    if let Ok(opened) = tokio::time::timeout(PATIENCE, &mut opening).await {
        return (opened, Vec::new());
    }
    let max = usize::try_from(config.maxclients).unwrap_or(usize::MAX);
    let (done, waits) = watch::channel(());
    let mut clients = JoinSet::new();
    let opened = loop {
        tokio::select! {
            opened = &mut opening => break opened,
            accepted = door.accept() => match accepted {
                Ok((socket, origin)) if clients.len() < max => {
                    clients.spawn(serve(socket, origin, told.clone(), waits.clone()));
                }
                // It is closed.
                Ok(_) => {}
                Err(error) => refuse(&error).await,
            },
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
        }
    };
    drop(done);
    let stay = clients.join_all().await.into_iter().flatten().collect();
    (opened, stay)
}

/// What clients may know.
struct Told {
    progress: Arc<LoadProgress>,
    began: Instant,
    began_s: u64,
    /// Whether INFO answers without a password.
    may_ask: bool,
}

/// Answers one client; gives it back if it is between two requests when the loading ends.
async fn serve(
    socket: Socket,
    origin: Origin,
    told: Arc<Told>,
    mut waits: watch::Receiver<()>,
) -> Option<(Socket, Origin)> {
    let (mut reader, writer) = socket.try_clone().ok()?.split().ok()?;
    let (mut requests, mut unread) = (RequestReader::new(), Vec::new());
    loop {
        tokio::select! {
            // The sender only ever goes.
            _ = waits.changed() => {
                // Dropped, it would end the connection for the other handle as well.
                writer.forget();
                return unread.is_empty().then_some((socket, origin));
            }
            read = read(&mut reader, &mut unread) => read?,
        }
        let limits = ReadLimits { authenticated: told.may_ask, ..ReadLimits::default() };
        loop {
            match requests.next(&unread, &limits) {
                Ok(Some((request, dropped))) => {
                    let asks = is_word(request.arg(0), "INFO") && told.may_ask;
                    let reply = if asks { told.info() } else { LOADING.to_vec() };
                    write(&writer, &reply)?;
                    unread.drain(..dropped);
                }
                Ok(None) => break,
                Err(_) => return None,
            }
        }
        unread.drain(..requests.take_skipped());
    }
}

/// `None` ends the connection.
async fn read(reader: &mut Reader, unread: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0; 4096];
    let read = poll_fn(|context| reader.poll_read(context, &mut bytes)).await.ok()?;
    unread.extend_from_slice(&bytes[..read]);
    (read > 0 && unread.len() <= UNREAD_MAX).then_some(())
}

/// `None` if the client does not read.
fn write(writer: &Writer, bytes: &[u8]) -> Option<()> {
    writer.try_write(bytes).is_ok_and(|written| written == bytes.len()).then_some(())
}

impl Told {
    fn info(&self) -> Vec<u8> {
        let (total, loaded) = self.progress.bytes();
        let elapsed = u128::from(self.began.elapsed().as_secs());
        let left = u128::from(total - loaded) * elapsed.max(1);
        let eta = left.checked_div(u128::from(loaded)).unwrap_or(1);
        let hundredths = (u128::from(loaded) * 10_000).checked_div(u128::from(total)).unwrap_or(0);
        let (whole, part) = (hundredths / 100, hundredths % 100);
        let began = self.began_s;
        let text = format!(
            "# Persistence\r\nloading:1\r\nasync_loading:0\r\nloading_start_time:{began}\r\n\
             loading_total_bytes:{total}\r\nloading_rdb_used_mem:0\r\n\
             loading_loaded_bytes:{loaded}\r\nloading_loaded_perc:{whole}.{part:02}\r\n\
             loading_eta_seconds:{eta}\r\n"
        );
        format!("${}\r\n{text}\r\n", text.len()).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    fn ask(client: &mut UnixStream, words: &str) -> String {
        client.write_all(words.as_bytes()).unwrap();
        let mut bytes = [0; 1024];
        let read = client.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    #[test]
    fn clients_are_told_to_wait_and_then_stay() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let mut config = Config { port: 0, unixsocket: path.clone(), ..Config::default() };
        config.apply("shards", "1").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut clients, stay) = runtime.block_on(async {
            let door = Door::open(&config).await.unwrap();
            let talk = tokio::task::spawn_blocking(move || {
                let connect = || UnixStream::connect(&path).unwrap();
                let (mut first, mut second) = (connect(), connect());
                assert_eq!(ask(&mut first, "PING\r\n").as_bytes(), LOADING);
                assert!(ask(&mut first, "*1\r\n$4\r\ninfo\r\n").contains("\r\nloading:1\r\n"));
                // This one is in the middle of a request.
                assert_eq!(ask(&mut second, "PING\r\n*1\r\n").as_bytes(), LOADING);
                vec![first, second]
            });
            let opening = async { talk.await.unwrap() };
            answer(&door, &config, Arc::default(), opening).await
        });
        assert_eq!((clients.len(), stay.len()), (2, 1));
        let Some((Socket::Unix(mut socket), _)) = stay.into_iter().next() else { panic!() };
        socket.write_all(b"+PONG\r\n").unwrap();
        assert_eq!(ask(&mut clients[0], "PING\r\n"), "+PONG\r\n");
    }
}
