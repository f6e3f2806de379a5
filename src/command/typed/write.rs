//! XADD, XTRIM, XDEL, XDELEX, XSETID, XCFGSET, XIDMPRECORD as types.

use super::{Call, Deleted, References, Trim, read_ok, write_ids, write_option};
use crate::command::Requests;
use crate::command::value::{Reader, Unexpected};
use crate::stream::EntryId;
use bytes::Bytes;

/// The ID that an entry is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewId {
    /// The present, and above the last ID.
    #[default]
    Auto,
    /// The next in this millisecond.
    NextIn(u64),
    /// This one, which must be above the last ID.
    Given(EntryId),
}

/// How an attempt to add an entry is recognised if it is made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idempotent {
    /// By producer ID and idempotent ID.
    Id {
        /// The producer ID.
        pid: Bytes,
        /// The idempotent ID.
        iid: Bytes,
    },
    /// By producer ID and content.
    Auto {
        /// The producer ID.
        pid: Bytes,
    },
}

/// Appends an entry. Answers its ID, for a duplicate that of the first; nothing if there is no
/// stream and none may be created.
#[derive(Debug, Clone)]
pub struct XAdd {
    /// The stream.
    pub key: Bytes,
    /// Its pairs; at least one.
    pub fields: Vec<(Bytes, Bytes)>,
    /// The ID.
    pub id: NewId,
    /// Whether the stream is created if it is missing; it is by default.
    pub create: bool,
    /// What to trim the stream to.
    pub trim: Option<Trim>,
    /// What becomes of references to what is trimmed.
    pub references: References,
    /// How a second attempt is recognised.
    pub idempotent: Option<Idempotent>,
}

impl Default for XAdd {
    fn default() -> Self {
        XAdd {
            key: Bytes::new(),
            fields: Vec::new(),
            id: NewId::Auto,
            create: true,
            trim: None,
            references: References::Keep,
            idempotent: None,
        }
    }
}

impl Call for XAdd {
    type Output = Option<EntryId>;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XADD").arg(&self.key);
        if !self.create {
            requests.arg("NOMKSTREAM");
        }
        match &self.idempotent {
            Some(Idempotent::Id { pid, iid }) => requests.arg("IDMP").arg(pid).arg(iid),
            Some(Idempotent::Auto { pid }) => requests.arg("IDMPAUTO").arg(pid),
            None => requests,
        };
        if let Some(trim) = self.trim {
            self.references.write(requests);
            trim.write(requests);
        }
        match self.id {
            NewId::Auto => requests.arg("*"),
            NewId::NextIn(ms) => requests.arg(format!("{ms}-*")),
            NewId::Given(id) => requests.id(id),
        };
        for (field, value) in &self.fields {
            requests.arg(field).arg(value);
        }
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        reader.id()
    }
}

/// Removes the oldest entries. Answers how many went.
#[derive(Debug, Clone)]
pub struct XTrim {
    /// The stream.
    pub key: Bytes,
    /// What to trim it to.
    pub trim: Trim,
    /// The most entries to remove, if it is trimmed in whole blocks; 0 is no limit.
    pub limit: Option<u64>,
    /// What becomes of references.
    pub references: References,
}

impl Call for XTrim {
    type Output = u64;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XTRIM").arg(&self.key);
        self.trim.write(requests);
        write_option(requests, "LIMIT", self.limit);
        self.references.write(requests);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        reader.count()
    }
}

/// Deletes entries. Answers how many went.
#[derive(Debug, Clone, Default)]
pub struct XDel {
    /// The stream.
    pub key: Bytes,
    /// The entries; at least one.
    pub ids: Vec<EntryId>,
}

impl Call for XDel {
    type Output = u64;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XDEL").arg(&self.key);
        requests.ids(&self.ids);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        reader.count()
    }
}

/// Deletes entries by what groups think of them. Answers what became of each.
#[derive(Debug, Clone, Default)]
pub struct XDelEx {
    /// The stream.
    pub key: Bytes,
    /// What becomes of references.
    pub references: References,
    /// The entries; at least one.
    pub ids: Vec<EntryId>,
}

impl Call for XDelEx {
    type Output = Vec<Deleted>;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XDELEX").arg(&self.key);
        self.references.write(requests);
        write_ids(requests, &self.ids);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        Deleted::read_all(reader)
    }
}

/// Sets the last ID of a stream and its counters.
#[derive(Debug, Clone, Default)]
pub struct XSetId {
    /// The stream.
    pub key: Bytes,
    /// The last ID.
    pub last_id: EntryId,
    /// How many entries were ever added.
    pub entries_added: Option<u64>,
    /// The greatest ID that was deleted.
    pub max_deleted_id: Option<EntryId>,
}

impl Call for XSetId {
    type Output = ();

    fn write(&self, requests: &mut Requests) {
        requests.arg("XSETID").arg(&self.key).id(self.last_id);
        write_option(requests, "ENTRIESADDED", self.entries_added);
        if let Some(id) = self.max_deleted_id {
            requests.arg("MAXDELETEDID").id(id);
        }
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        read_ok(reader)
    }
}

/// Sets how long and how many idempotent IDs a stream remembers.
#[derive(Debug, Clone, Default)]
pub struct XCfgSet {
    /// The stream.
    pub key: Bytes,
    /// For how many seconds.
    pub duration_s: Option<u64>,
    /// How many of each producer.
    pub max_size: Option<u64>,
}

impl Call for XCfgSet {
    type Output = ();

    fn write(&self, requests: &mut Requests) {
        requests.arg("XCFGSET").arg(&self.key);
        write_option(requests, "IDMP-DURATION", self.duration_s);
        write_option(requests, "IDMP-MAXSIZE", self.max_size);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        read_ok(reader)
    }
}

/// Attaches an idempotent ID to an entry.
#[derive(Debug, Clone, Default)]
pub struct XIdmpRecord {
    /// The stream.
    pub key: Bytes,
    /// The producer ID.
    pub pid: Bytes,
    /// The idempotent ID.
    pub iid: Bytes,
    /// The entry.
    pub id: EntryId,
}

impl Call for XIdmpRecord {
    type Output = ();

    fn write(&self, requests: &mut Requests) {
        requests.arg("XIDMPRECORD").arg(&self.key).arg(&self.pid).arg(&self.iid).id(self.id);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        read_ok(reader)
    }
}
