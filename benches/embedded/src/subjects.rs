//! The queues that are measured, each used as its users do: one thread, entries handed out in
//! order, each acknowledged by name and then gone.

use std::collections::VecDeque;
use std::path::Path;

/// What an acknowledged call has survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// Nothing.
    Nothing,
    /// The end of the process: the bytes were handed to the system.
    Written,
    /// A power cut.
    Synced,
}

/// A queue.
pub trait Subject {
    /// Adds entries, all in one call.
    fn produce(&mut self, values: &[&[u8]]);
    /// Takes `n` entries, in one call.
    fn take(&mut self, n: usize);
    /// Acknowledges `n` of those taken, the oldest first, in one call.
    fn acknowledge(&mut self, n: usize);
    /// The memory of the process that does the work, if it is another.
    fn rss_kb(&self) -> Option<u64> {
        None
    }
}

/// All of them, with what is to be known of each.
pub const SUBJECTS: &[(&str, &str)] = &[
    ("millstream", "calls that block; one write for each"),
    ("millstream awaited", "the same calls as futures, which hop to the shard's thread"),
    ("sqlite", "WAL; written: synchronous = NORMAL, synced: FULL, nothing: in memory"),
    ("yaque", "taking is acknowledging; which entries were taken is saved for each"),
    ("yaque by 250", "as it comes: after a kill, up to 250 entries that were taken come again"),
    ("redb", "written: Eventual, which syncs, too; nothing: in memory"),
    ("fjall", "written: its default, each change is handed to the system"),
    ("redis", "redis-rs over a unix socket; written: appendfsync everysec, synced: always"),
];

/// Opens one in a directory; `None` if it cannot promise that.
pub fn open(name: &str, dir: &Path, means: Means) -> Option<Box<dyn Subject>> {
    Some(match name {
        "millstream" => Box::new(Millstream::open(dir, means, false)),
        "millstream awaited" => Box::new(Millstream::open(dir, means, true)),
        "sqlite" => Box::new(Sqlite::open(dir, means)),
        "yaque" if means == Means::Written => Box::new(Yaque::open(dir, 1)),
        "yaque by 250" if means == Means::Nothing => Box::new(Yaque::open(dir, 250)),
        "redb" => Box::new(Redb::open(dir, means)),
        "fjall" => Box::new(Fjall::open(dir, means)),
        "redis" => Box::new(Redis::open(dir, means)),
        _ => return None,
    })
}

struct Millstream {
    stream: millstream::Stream,
    group: millstream::Group,
    consumer: millstream::Consumer,
    taken: VecDeque<millstream::Delivery>,
    awaited: bool,
    _db: millstream::Db,
}

impl Millstream {
    fn open(dir: &Path, means: Means, awaited: bool) -> Self {
        let builder = millstream::Db::builder();
        let db = match means {
            Means::Nothing => builder.memory(),
            Means::Written => builder.dir(dir).appendfsync(millstream::Fsync::EverySec),
            Means::Synced => builder.dir(dir).appendfsync(millstream::Fsync::Always),
        };
        let db = db.open().unwrap();
        let stream = db.stream("jobs");
        let group = stream.group("workers", millstream::Start::First).wait().unwrap();
        let group = group.delete_acknowledged();
        let consumer = group.consumer("w");
        Millstream { stream, group, consumer, taken: VecDeque::new(), awaited, _db: db }
    }
}

fn get<T>(awaited: bool, answer: millstream::Answer<T>) -> T {
    if awaited { millstream::block_on(answer).unwrap() } else { answer.wait().unwrap() }
}

impl Subject for Millstream {
    fn produce(&mut self, values: &[&[u8]]) {
        match values {
            [value] => drop(get(self.awaited, self.stream.add(value))),
            _ => drop(get(self.awaited, self.stream.add_many(values))),
        }
    }

    fn take(&mut self, n: usize) {
        let taken = get(self.awaited, self.consumer.take(n as u64));
        assert_eq!(taken.len(), n);
        self.taken.extend(taken);
    }

    fn acknowledge(&mut self, n: usize) {
        if n == 1 {
            assert!(get(self.awaited, self.taken.pop_front().unwrap().ack()));
        } else {
            let all = self.group.ack_all(self.taken.drain(..n).collect());
            assert_eq!(get(self.awaited, all), n as u64);
        }
    }
}

struct Sqlite {
    connection: rusqlite::Connection,
    taken: VecDeque<i64>,
}

impl Sqlite {
    fn open(dir: &Path, means: Means) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let connection = match means {
            Means::Nothing => rusqlite::Connection::open_in_memory(),
            Means::Written | Means::Synced => rusqlite::Connection::open(dir.join("queue.db")),
        };
        let connection = connection.unwrap();
        let synchronous = if means == Means::Synced { "FULL" } else { "NORMAL" };
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
                 CREATE TABLE queue (id INTEGER PRIMARY KEY, value BLOB, taken INTEGER);
                 CREATE INDEX ready ON queue (id) WHERE taken IS NULL;"
            ))
            .unwrap();
        Sqlite { connection, taken: VecDeque::new() }
    }
}

impl Subject for Sqlite {
    fn produce(&mut self, values: &[&[u8]]) {
        let transaction = self.connection.transaction().unwrap();
        let mut insert =
            transaction.prepare_cached("INSERT INTO queue (value) VALUES (?)").unwrap();
        values.iter().for_each(|value| assert_eq!(insert.execute([value]).unwrap(), 1));
        drop(insert);
        transaction.commit().unwrap();
    }

    fn take(&mut self, n: usize) {
        let text = "UPDATE queue SET taken = 1 WHERE id IN (SELECT id FROM queue
                    WHERE taken IS NULL ORDER BY id LIMIT ?) RETURNING id, value";
        let mut take = self.connection.prepare_cached(text).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let before = self.taken.len();
        for row in take.query_map([n], row).unwrap() {
            let (id, value): (i64, Vec<u8>) = row.unwrap();
            assert_eq!(value.len(), 100);
            self.taken.push_back(id);
        }
        assert_eq!(self.taken.len(), before + n);
    }

    fn acknowledge(&mut self, n: usize) {
        let transaction = self.connection.transaction().unwrap();
        let mut delete = transaction.prepare_cached("DELETE FROM queue WHERE id = ?").unwrap();
        for id in self.taken.drain(..n) {
            assert_eq!(delete.execute([id]).unwrap(), 1);
        }
        drop(delete);
        transaction.commit().unwrap();
    }
}

struct Yaque {
    sender: yaque::Sender,
    receiver: yaque::Receiver,
    taken: usize,
}

impl Yaque {
    fn open(dir: &Path, saves_every: usize) -> Self {
        let sender = yaque::Sender::open(dir).unwrap();
        let receiver = yaque::ReceiverBuilder::new().save_every_nth(Some(saves_every));
        Yaque { sender, receiver: receiver.open(dir).unwrap(), taken: 0 }
    }
}

impl Subject for Yaque {
    fn produce(&mut self, values: &[&[u8]]) {
        match values {
            [value] => millstream::block_on(self.sender.send(value)).unwrap(),
            _ => millstream::block_on(self.sender.send_batch(values)).unwrap(),
        }
    }

    /// It hands out one call's at a time, and taking is acknowledging: both are measured here.
    fn take(&mut self, n: usize) {
        let guard = millstream::block_on(self.receiver.recv_batch(n)).unwrap();
        assert!(guard.len() == n && guard[0].len() == 100);
        guard.commit().unwrap();
        self.taken += n;
    }

    fn acknowledge(&mut self, n: usize) {
        self.taken -= n;
    }
}

const READY: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("ready");
const TAKEN: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("taken");

struct Redb {
    database: redb::Database,
    durability: redb::Durability,
    next: u64,
    taken: VecDeque<u64>,
}

impl Redb {
    fn open(dir: &Path, means: Means) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let builder = redb::Database::builder();
        let database = match means {
            Means::Nothing => {
                builder.create_with_backend(redb::backends::InMemoryBackend::new()).unwrap()
            }
            Means::Written | Means::Synced => builder.create(dir.join("queue.redb")).unwrap(),
        };
        // Without a sync its commits would be in the process alone.
        let durability = match means {
            Means::Nothing | Means::Written => redb::Durability::Eventual,
            Means::Synced => redb::Durability::Immediate,
        };
        Redb { database, durability, next: 0, taken: VecDeque::new() }
    }

    fn write(&self) -> redb::WriteTransaction {
        let mut write = self.database.begin_write().unwrap();
        write.set_durability(self.durability);
        write
    }
}

impl Subject for Redb {
    fn produce(&mut self, values: &[&[u8]]) {
        let write = self.write();
        {
            let mut ready = write.open_table(READY).unwrap();
            for value in values {
                ready.insert(self.next, value).unwrap();
                self.next += 1;
            }
        }
        write.commit().unwrap();
    }

    fn take(&mut self, n: usize) {
        let write = self.write();
        {
            let mut ready = write.open_table(READY).unwrap();
            let mut taken = write.open_table(TAKEN).unwrap();
            for _ in 0..n {
                let (id, value) = ready.pop_first().unwrap().unwrap();
                taken.insert(id.value(), value.value()).unwrap();
                self.taken.push_back(id.value());
            }
        }
        write.commit().unwrap();
    }

    fn acknowledge(&mut self, n: usize) {
        let write = self.write();
        {
            let mut taken = write.open_table(TAKEN).unwrap();
            for id in self.taken.drain(..n) {
                taken.remove(id).unwrap();
            }
        }
        write.commit().unwrap();
    }
}

struct Fjall {
    keyspace: fjall::Keyspace,
    ready: fjall::PartitionHandle,
    taken: fjall::PartitionHandle,
    /// `None`: changes stay in the process's buffer.
    mode: Option<fjall::PersistMode>,
    next: u64,
    /// Where to look for the first: a scan from the beginning would pass over all tombstones.
    first: u64,
    held: VecDeque<fjall::Slice>,
}

impl Fjall {
    fn open(dir: &Path, means: Means) -> Self {
        let mode = match means {
            Means::Nothing => None,
            Means::Written => Some(fjall::PersistMode::Buffer),
            Means::Synced => Some(fjall::PersistMode::SyncData),
        };
        let config = fjall::Config::new(dir).manual_journal_persist(means == Means::Nothing);
        let keyspace = config.open().unwrap();
        let options = fjall::PartitionCreateOptions::default()
            .manual_journal_persist(means == Means::Nothing);
        let partition = |name| keyspace.open_partition(name, options.clone()).unwrap();
        let (ready, taken) = (partition("ready"), partition("taken"));
        Fjall { keyspace, ready, taken, mode, next: 0, first: 0, held: VecDeque::new() }
    }

    /// A single change is handed to the system by itself.
    fn persist(&self) {
        if self.mode == Some(fjall::PersistMode::SyncData) {
            self.keyspace.persist(fjall::PersistMode::SyncData).unwrap();
        }
    }
}

impl Subject for Fjall {
    fn produce(&mut self, values: &[&[u8]]) {
        if let [value] = values {
            self.ready.insert(self.next.to_be_bytes(), *value).unwrap();
            self.persist();
        } else {
            let mut batch = self.keyspace.batch().durability(self.mode);
            for (id, value) in (self.next..).zip(values) {
                batch.insert(&self.ready, id.to_be_bytes(), *value);
            }
            batch.commit().unwrap();
        }
        self.next += values.len() as u64;
    }

    fn take(&mut self, n: usize) {
        let mut batch = self.keyspace.batch().durability(self.mode);
        for first in self.ready.range(self.first.to_be_bytes()..).take(n) {
            let (key, value) = first.unwrap();
            assert_eq!(value.len(), 100);
            batch.remove(&self.ready, key.clone());
            batch.insert(&self.taken, key.clone(), value);
            self.held.push_back(key);
        }
        batch.commit().unwrap();
        self.first += n as u64;
    }

    fn acknowledge(&mut self, n: usize) {
        if n == 1 {
            self.taken.remove(self.held.pop_front().unwrap()).unwrap();
            self.persist();
        } else {
            let mut batch = self.keyspace.batch().durability(self.mode);
            self.held.drain(..n).for_each(|key| batch.remove(&self.taken, key));
            batch.commit().unwrap();
        }
    }
}

struct Redis {
    server: std::process::Child,
    connection: redis::Connection,
    taken: VecDeque<String>,
}

impl Redis {
    fn open(dir: &Path, means: Means) -> Self {
        use std::process::{Command, Stdio};
        std::fs::create_dir_all(dir).unwrap();
        let socket = dir.join("socket");
        let appendonly = if means == Means::Nothing { "no" } else { "yes" };
        let appendfsync = if means == Means::Synced { "always" } else { "everysec" };
        let server = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let server = Command::new(server)
            .args(["--port", "0", "--save", "", "--appendonly", appendonly])
            .args(["--appendfsync", appendfsync])
            .arg("--dir")
            .arg(dir)
            .arg("--unixsocket")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let client = redis::Client::open(format!("unix://{}", socket.display())).unwrap();
        let connection = (0..500).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            client.get_connection().ok()
        });
        let mut connection = connection.expect("the server answers");
        let create = ["CREATE", "jobs", "workers", "0", "MKSTREAM"];
        redis::cmd("XGROUP").arg(&create).exec(&mut connection).unwrap();
        Redis { server, connection, taken: VecDeque::new() }
    }
}

impl Subject for Redis {
    fn produce(&mut self, values: &[&[u8]]) {
        let mut adds = redis::pipe();
        for value in values {
            adds.cmd("XADD").arg("jobs").arg("*").arg("data").arg(value).ignore();
        }
        adds.exec(&mut self.connection).unwrap();
    }

    fn take(&mut self, n: usize) {
        let count = n.to_string();
        let read = ["GROUP", "workers", "w", "COUNT", &count, "STREAMS", "jobs", ">"];
        let reply: redis::streams::StreamReadReply =
            redis::cmd("XREADGROUP").arg(&read).query(&mut self.connection).unwrap();
        assert_eq!(reply.keys[0].ids.len(), n);
        self.taken.extend(reply.keys[0].ids.iter().map(|entry| entry.id.clone()));
    }

    /// As a queue does: the entry goes when it is done.
    fn acknowledge(&mut self, n: usize) {
        let ids: Vec<String> = self.taken.drain(..n).collect();
        let mut both = redis::pipe();
        both.cmd("XACK").arg("jobs").arg("workers").arg(&ids).ignore();
        both.cmd("XDEL").arg("jobs").arg(&ids).ignore();
        both.exec(&mut self.connection).unwrap();
    }

    fn rss_kb(&self) -> Option<u64> {
        Some(crate::rss_kb(&self.server.id().to_string()))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
