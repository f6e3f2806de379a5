//! Inside a web server: a request adds a job and answers at once, a task in the same runtime does
//! the work. The runtime's threads are never blocked: the queue has its own.
//!
//! ```sh
//! cargo run --manifest-path examples/apps/Cargo.toml --bin axum
//! ```

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use millstream::{Db, Start, Stream};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The queue is where the first argument says, or in a directory that goes afterwards.
    let temporary = tempfile::tempdir()?;
    let named = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = named.unwrap_or_else(|| temporary.path().join("queue"));
    let db = Db::builder().dir(dir).open()?;
    let mails = db.stream("mails");
    let sender = mails.group("senders", Start::First).await?.consumer("sender");

    let routes = Router::new().route("/mails", post(add)).with_state(mails);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let sending = tokio::spawn(async move {
        let mail = sender.next().await?;
        println!("sending: {}", mail.text("data").unwrap_or_default());
        let id = mail.id();
        let acknowledged = mail.ack().await?;
        println!("done {id}");
        Ok::<bool, millstream::Error>(acknowledged)
    });

    let mut client = TcpStream::connect(address).await?;
    let body = "to you";
    let request = format!(
        "POST /mails HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    client.read_to_string(&mut reply).await?;
    assert!(reply.starts_with("HTTP/1.1 202"));
    println!("added {}", reply.lines().last().unwrap_or_default());
    assert!(sending.await??);
    Ok(())
}

/// Accepted means: it is in the log, and will be sent even if this process is killed now. Answers
/// under which ID.
async fn add(
    State(mails): State<Stream>,
    body: String,
) -> Result<(StatusCode, String), StatusCode> {
    let id = mails.add(body).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok((StatusCode::ACCEPTED, id.to_string()))
}
