//! How a program opens its database: the settings that matter to it, and defaults that suit it.

use super::Db;
use crate::config::{Config, Fsync};
use crate::error::Error;
use std::path::PathBuf;

/// A program's log is replaced by a snapshot when it has grown by so much and is as long as the
/// snapshot. Looked at once a second, and at eight times of it; the log behind the snapshot before
/// is kept. Chosen.
const LOG_BYTES: u64 = 1 << 20;

/// Settings of a database, to be opened. What is not said is as in a server: durable within a
/// second (`everysec`), in `./data`, one shard. Only the log is replaced by a snapshot earlier
/// (`auto-aof-rewrite-min-size` is 1 MiB and not 64), so that a short queue has small files.
///
/// # Examples
/// ```
/// use millstream::{Db, Fsync};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let dir = dir.path().join("queue");
/// let db = Db::builder().dir(&dir).appendfsync(Fsync::Always).open()?;
/// db.close()?;
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `open`"]
pub struct Builder {
    config: Config,
    refused: Option<Error>,
}

impl Builder {
    pub(super) fn new() -> Self {
        let config = Config { auto_aof_rewrite_min_size: LOG_BYTES, ..Config::default() };
        Builder { config, refused: None }
    }

    /// Where the data is; made if it is missing.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.config.dir = dir.into();
        self
    }

    /// Keeps everything in memory only, and looks at no directory.
    pub fn memory(mut self) -> Self {
        self.config.dir = PathBuf::new();
        self.config.appendonly = false;
        self.config.save = Vec::new();
        self
    }

    /// What an answer to a change means: on disk (`Always`), or in the log file, which a killed
    /// process keeps and a power cut takes the last second of (`EverySec`) or more (`No`).
    pub fn appendfsync(mut self, when: Fsync) -> Self {
        self.config.appendfsync = when;
        self
    }

    /// Into how many parts, each with its thread, the keys are split; 1 unless one thread is not
    /// enough.
    pub fn shards(self, shards: usize) -> Self {
        self.setting("shards", &shards.to_string())
    }

    /// Any setting, by Redis's name for it.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        if let Err(error) = self.config.apply(name, value) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Opens the database: reads what is there, starts its threads.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting that is not allowed; as [`Db::open`].
    pub fn open(self) -> Result<Db, Error> {
        match self.refused {
            Some(error) => Err(error),
            None => Db::open(self.config),
        }
    }
}
