//! The queues that are measured, each used as its users do.

use std::path::Path;

/// What an acknowledged call has survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process.
    Written,
    /// A power cut.
    Synced,
}

/// A queue.
pub trait Subject {
    /// Adds [`Subject::batch`] entries.
    fn produce(&mut self, value: &[u8]);
    /// Takes as many.
    fn take(&mut self);
    /// Acknowledges as many of those taken, the oldest first.
    fn acknowledge(&mut self);
    /// How many entries a call is about.
    fn batch(&self) -> usize {
        1
    }
    /// The memory of the process that does the work, if it is another.
    fn rss_kb(&self) -> Option<u64> {
        None
    }
}

/// All of them.
pub const SUBJECTS: &[&str] = &[
    "millstream",
    "millstream awaited",
    "millstream x100",
    "sqlite",
    "yaque",
    "redb",
    "fjall",
    "redis",
];

/// Opens one in a directory.
pub fn open(name: &str, dir: &Path, durability: Durability) -> Box<dyn Subject> {
    match name {
        "millstream" => Box::new(Millstream::open(dir, durability, 1, false)),
        "millstream awaited" => Box::new(Millstream::open(dir, durability, 1, true)),
        "millstream x100" => Box::new(Millstream::open(dir, durability, 100, false)),
        "sqlite" => Box::new(Sqlite::open(dir, durability)),
        "yaque" => Box::new(Yaque::open(dir)),
        "redb" => Box::new(Redb::open(dir, durability)),
        "fjall" => Box::new(Fjall::open(dir, durability)),
        _ => Box::new(Redis::open(dir, durability)),
    }
}

struct Millstream {
    stream: millstream::Stream,
    group: millstream::Group,
    consumer: millstream::Consumer,
    taken: std::collections::VecDeque<millstream::Delivery>,
    batch: usize,
    awaited: bool,
    _db: millstream::Db,
}

impl Millstream {
    fn open(dir: &Path, durability: Durability, batch: usize, awaited: bool) -> Self {
        let fsync = match durability {
            Durability::Written => millstream::Fsync::EverySec,
            Durability::Synced => millstream::Fsync::Always,
        };
        let db = millstream::Db::builder().dir(dir).appendfsync(fsync).open().unwrap();
        let stream = db.stream("jobs");
        let group = stream.group("workers", millstream::Start::First).wait().unwrap();
        let group = group.delete_acknowledged();
        let consumer = group.consumer("w");
        let taken = Default::default();
        Millstream { stream, group, consumer, taken, batch, awaited, _db: db }
    }

    fn get<T>(&self, answer: millstream::Answer<T>) -> T {
        if self.awaited { millstream::block_on(answer).unwrap() } else { answer.wait().unwrap() }
    }
}

impl Subject for Millstream {
    fn produce(&mut self, value: &[u8]) {
        if self.batch > 1 {
            self.get(self.stream.add_many((0..self.batch).map(|_| value)));
        } else {
            self.get(self.stream.add(value));
        }
    }

    fn take(&mut self) {
        let taken = self.get(self.consumer.take(self.batch as u64));
        assert_eq!(taken.len(), self.batch);
        self.taken.extend(taken);
    }

    fn acknowledge(&mut self) {
        let taken = self.taken.drain(..self.batch).collect();
        assert_eq!(self.get(self.group.ack_all(taken)), self.batch as u64);
    }

    fn batch(&self) -> usize {
        self.batch
    }
}

struct Sqlite {
    connection: rusqlite::Connection,
    taken: std::collections::VecDeque<i64>,
}

impl Sqlite {
    fn open(dir: &Path, durability: Durability) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let connection = rusqlite::Connection::open(dir.join("queue.db")).unwrap();
        let synchronous = if durability == Durability::Synced { "FULL" } else { "NORMAL" };
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
                 CREATE TABLE queue (id INTEGER PRIMARY KEY, value BLOB, taken INTEGER);
                 CREATE INDEX ready ON queue (id) WHERE taken IS NULL;"
            ))
            .unwrap();
        Sqlite { connection, taken: Default::default() }
    }
}

impl Subject for Sqlite {
    fn produce(&mut self, value: &[u8]) {
        let mut insert = self.connection.prepare_cached("INSERT INTO queue (value) VALUES (?)");
        insert.as_mut().unwrap().execute([value]).unwrap();
    }

    fn take(&mut self) {
        let text = "UPDATE queue SET taken = 1 WHERE id = (SELECT id FROM queue WHERE taken IS NULL
                    ORDER BY id LIMIT 1) RETURNING id, value";
        let mut take = self.connection.prepare_cached(text).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (id, value): (i64, Vec<u8>) = take.query_row([], row).unwrap();
        assert_eq!(value.len(), 100);
        self.taken.push_back(id);
    }

    fn acknowledge(&mut self) {
        let id = self.taken.pop_front().unwrap();
        let mut delete = self.connection.prepare_cached("DELETE FROM queue WHERE id = ?").unwrap();
        assert_eq!(delete.execute([id]).unwrap(), 1);
    }
}

struct Yaque {
    sender: yaque::Sender,
    receiver: yaque::Receiver,
    taken: usize,
}

impl Yaque {
    fn open(dir: &Path) -> Self {
        let (sender, receiver) = yaque::channel(dir).unwrap();
        Yaque { sender, receiver, taken: 0 }
    }
}

impl Subject for Yaque {
    fn produce(&mut self, value: &[u8]) {
        millstream::block_on(self.sender.send(value)).unwrap();
    }

    /// It hands out one at a time, and taking is acknowledging: both are measured here.
    fn take(&mut self) {
        let guard = millstream::block_on(self.receiver.recv()).unwrap();
        assert_eq!(guard.len(), 100);
        guard.commit().unwrap();
        self.taken += 1;
    }

    fn acknowledge(&mut self) {
        self.taken -= 1;
    }
}

const READY: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("ready");
const TAKEN: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("taken");

struct Redb {
    database: redb::Database,
    durability: redb::Durability,
    next: u64,
    taken: std::collections::VecDeque<u64>,
}

impl Redb {
    fn open(dir: &Path, durability: Durability) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let database = redb::Database::create(dir.join("queue.redb")).unwrap();
        let durability = match durability {
            Durability::Written => redb::Durability::Eventual,
            Durability::Synced => redb::Durability::Immediate,
        };
        Redb { database, durability, next: 0, taken: Default::default() }
    }

    fn write(&self) -> redb::WriteTransaction {
        let mut write = self.database.begin_write().unwrap();
        write.set_durability(self.durability);
        write
    }
}

impl Subject for Redb {
    fn produce(&mut self, value: &[u8]) {
        let write = self.write();
        write.open_table(READY).unwrap().insert(self.next, value).unwrap();
        write.commit().unwrap();
        self.next += 1;
    }

    fn take(&mut self) {
        let write = self.write();
        {
            let mut ready = write.open_table(READY).unwrap();
            let (id, value) = ready.pop_first().unwrap().unwrap();
            let (id, value) = (id.value(), value.value().to_vec());
            write.open_table(TAKEN).unwrap().insert(id, &value[..]).unwrap();
            self.taken.push_back(id);
        }
        write.commit().unwrap();
    }

    fn acknowledge(&mut self) {
        let write = self.write();
        let id = self.taken.pop_front().unwrap();
        write.open_table(TAKEN).unwrap().remove(id).unwrap();
        write.commit().unwrap();
    }
}

struct Fjall {
    keyspace: fjall::Keyspace,
    ready: fjall::PartitionHandle,
    taken: fjall::PartitionHandle,
    mode: fjall::PersistMode,
    next: u64,
    /// Where to look for the first: a scan from the beginning would pass over all tombstones.
    first: u64,
    held: std::collections::VecDeque<u64>,
}

impl Fjall {
    fn open(dir: &Path, durability: Durability) -> Self {
        let keyspace = fjall::Config::new(dir).open().unwrap();
        let partition = |name| keyspace.open_partition(name, Default::default()).unwrap();
        let mode = match durability {
            Durability::Written => fjall::PersistMode::Buffer,
            Durability::Synced => fjall::PersistMode::SyncData,
        };
        let (ready, taken) = (partition("ready"), partition("taken"));
        Fjall { keyspace, ready, taken, mode, next: 0, first: 0, held: Default::default() }
    }
}

impl Subject for Fjall {
    fn produce(&mut self, value: &[u8]) {
        self.ready.insert(self.next.to_be_bytes(), value).unwrap();
        self.keyspace.persist(self.mode).unwrap();
        self.next += 1;
    }

    fn take(&mut self) {
        let first = self.ready.range(self.first.to_be_bytes()..).next().unwrap();
        let (key, value) = first.unwrap();
        let mut batch = self.keyspace.batch();
        batch.remove(&self.ready, key.clone());
        batch.insert(&self.taken, key.clone(), value);
        batch.commit().unwrap();
        self.keyspace.persist(self.mode).unwrap();
        let id = u64::from_be_bytes(key.as_ref().try_into().unwrap());
        self.first = id + 1;
        self.held.push_back(id);
    }

    fn acknowledge(&mut self) {
        let id = self.held.pop_front().unwrap();
        self.taken.remove(id.to_be_bytes()).unwrap();
        self.keyspace.persist(self.mode).unwrap();
    }
}

struct Redis {
    server: std::process::Child,
    connection: redis::Connection,
    taken: std::collections::VecDeque<String>,
}

impl Redis {
    fn open(dir: &Path, durability: Durability) -> Self {
        use std::process::{Command, Stdio};
        std::fs::create_dir_all(dir).unwrap();
        let socket = dir.join("socket");
        let appendfsync = if durability == Durability::Synced { "always" } else { "everysec" };
        let server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "yes"])
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
        Redis { server, connection, taken: Default::default() }
    }
}

impl Subject for Redis {
    fn produce(&mut self, value: &[u8]) {
        redis::cmd("XADD")
            .arg("jobs")
            .arg("*")
            .arg("data")
            .arg(value)
            .exec(&mut self.connection)
            .unwrap();
    }

    fn take(&mut self) {
        let read = ["GROUP", "workers", "w", "COUNT", "1", "STREAMS", "jobs", ">"];
        let reply: redis::streams::StreamReadReply =
            redis::cmd("XREADGROUP").arg(&read).query(&mut self.connection).unwrap();
        self.taken.push_back(reply.keys[0].ids[0].id.clone());
    }

    /// As a queue does: the entry goes when it is done.
    fn acknowledge(&mut self) {
        let id = self.taken.pop_front().unwrap();
        let mut both = redis::pipe();
        both.cmd("XACK").arg("jobs").arg("workers").arg(&id).ignore();
        both.cmd("XDEL").arg("jobs").arg(&id).ignore();
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
