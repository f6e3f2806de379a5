//! Settings: one table under Redis's directive names, for the command line, the file, CONFIG, and
//! the embedded database alike.
//!
//! | file | what |
//! |---|---|
//! | `table.rs` | every setting that has an effect, and [`Config`], which is made of them |
//! | `accepted.rs` | Redis's other settings: checked and answered, without effect |
//! | `value.rs` | kinds of values: reading, ranges, printing |
//! | `events.rs` | classes of keyspace events |
//! | `file.rs` | configuration files, the command line, quoting |
//!
//! Invariant: the text of every value is one that reading it again would give.

mod accepted;
mod events;
mod file;
mod table;
mod value;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

pub use events::NotifyFlags;
pub use file::{ConfigError, Invocation, split_args};
pub use table::{Config, Setting, When};
pub use value::{
    CompatProfile, Fsync, LogLevel, OutputLimit, OutputLimits, Protected, SavePoint, Shape,
    Supervised,
};

use crate::error::{CommandError, Error};
use crate::glob;
use table::{ALIASES, Place};
use value::{Reason, Value};

impl Default for Config {
    /// What a server has that is told nothing: persistent, in `./data`.
    fn default() -> Self {
        let mut config = Config::blank();
        for setting in table::TABLE {
            let read = config.put(setting, &[setting.default]);
            debug_assert!(read.is_ok(), "default of {}: {read:?}", setting.name);
        }
        config
    }
}

impl Config {
    /// Changes one setting, at start: `apply("appendfsync", "always")`. Settings of several words
    /// are given in one text.
    ///
    /// # Errors
    /// [`Error::Config`], naming the setting and what it allows, if there is none of that name or
    /// the value is not allowed; nothing has changed.
    pub fn apply(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let Some(setting) = Setting::find(name) else {
            return Err(Error::Config(format!("there is no setting '{name}'")));
        };
        self.put(setting, &[value])
            .map_err(|reason| Error::Config(format!("{name} '{value}': {reason}")))
    }

    /// Checks every field against the range of its setting, for a configuration whose fields were
    /// written directly.
    ///
    /// # Errors
    /// [`Error::Config`] for the first value that is not allowed.
    pub fn check(&self) -> Result<(), Error> {
        let mut copy = self.clone();
        Setting::all().try_for_each(|setting| copy.apply(setting.name, &self.text(setting)))
    }

    /// The settings that match any of the patterns, sorted by name, each once.
    ///
    /// Redis: a name that was asked for without a wildcard is answered as it was written.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Cow<'static, str>, String)> {
        let aliases = ALIASES.iter().filter_map(|&(old, _)| Some((old, Setting::find(old)?)));
        let mut found: Vec<(Cow<'static, str>, String)> = Vec::new();
        for (name, setting) in Setting::all().map(|setting| (setting.name, setting)).chain(aliases)
        {
            let matching = patterns.iter().find(|p| glob::matches(p, name.as_bytes(), true));
            let Some(pattern) = matching else { continue };
            let asked = std::str::from_utf8(pattern).ok();
            let shown = match asked.filter(|asked| asked.eq_ignore_ascii_case(name)) {
                Some(asked) => Cow::Owned(asked.to_owned()),
                None => Cow::Borrowed(name),
            };
            found.push((shown, self.text(setting)));
        }
        found.sort();
        found
    }

    /// CONFIG SET: all of the pairs or none. `local` says that the connection is of this machine.
    /// Gives the names of the settings, the newer ones, whose values are different now.
    ///
    /// # Errors
    /// Redis's texts for an unknown name, one that may not change, one given twice, and a value
    /// that is not allowed; nothing has changed.
    pub fn set(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        local: bool,
    ) -> Result<Vec<&'static str>, CommandError> {
        let mut settings: Vec<(&str, &'static Setting)> = Vec::with_capacity(pairs.len());
        let mut seen = BTreeSet::new();
        for &(name, _) in pairs {
            let found = std::str::from_utf8(name).ok().and_then(|n| Some((n, Setting::find(n)?)));
            let Some((name, setting)) = found else {
                return Err(CommandError::quoting(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                    &[name],
                ));
            };
            self.may_change(setting, local).map_err(|reason| refused(name, &reason))?;
            if !seen.insert(name.to_ascii_lowercase()) {
                return Err(refused(name, "duplicate parameter"));
            }
            settings.push((name, setting));
        }
        let mut next = self.clone();
        for (&(name, setting), &(_, value)) in settings.iter().zip(pairs) {
            std::str::from_utf8(value)
                .map_err(|_| "argument must be valid UTF-8".into())
                .and_then(|value| next.put(setting, &[value]))
                .map_err(|reason| refused(name, &reason))?;
        }
        let changed = settings.iter().map(|(_, setting)| *setting);
        let changed = changed.filter(|setting| self.text(setting) != next.text(setting));
        let names = changed.map(|setting| setting.name).collect();
        *self = next;
        Ok(names)
    }

    /// The settings without effect that have been given a value other than their default, with
    /// that value; for a line in the log each.
    pub fn without_effect(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.accepted.iter().map(|(&name, value)| (name, value.as_str())).filter(|(name, value)| {
            Setting::find(name).is_none_or(|setting| setting.default != *value)
        })
    }

    /// The value of a setting as CONFIG GET shows it.
    pub fn text(&self, setting: &Setting) -> String {
        setting.shape.print(&self.value(setting))
    }

    /// The value of a setting.
    fn value(&self, setting: &Setting) -> Value {
        match setting.place {
            Place::Field { value, .. } => value(self),
            Place::Accepted => {
                let given = self.accepted.get(setting.name).map(String::as_str);
                Value::Text(given.unwrap_or(setting.default).to_owned())
            }
        }
    }

    /// Reads the words of a value and puts it into its place.
    fn put(&mut self, setting: &Setting, words: &[&str]) -> Result<(), Reason> {
        let value = setting.shape.read(words, &self.value(setting))?;
        match setting.place {
            Place::Field { put, .. } => put(self, value),
            Place::Accepted => {
                self.accepted.insert(setting.name, setting.shape.print(&value));
            }
        }
        Ok(())
    }

    /// Whether CONFIG SET may change a setting.
    fn may_change(&self, setting: &Setting, local: bool) -> Result<(), Reason> {
        match setting.when {
            When::Live => Ok(()),
            When::Start => Err("can't set immutable config".into()),
            When::Protected => match self.enable_protected_configs {
                Protected::Yes => Ok(()),
                Protected::Local if local => Ok(()),
                Protected::Local | Protected::No => Err("can't set protected config".into()),
            },
        }
    }
}

/// The refusal of CONFIG SET.
fn refused(name: &str, reason: &str) -> CommandError {
    CommandError::composed(format!(
        "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
    ))
}

/// The line of `--version`. Tools read the number behind ` v=`.
pub fn version() -> String {
    let (version, bits) = (env!("CARGO_PKG_VERSION"), usize::BITS);
    format!("millstream server v={version} bits={bits}")
}

/// The text of `--help`: how to start the server, and every setting with its default, its range,
/// and what it is for.
pub fn help() -> String {
    let mut text = String::from(
        "Usage: millstream [/path/to/redis.conf] [--directive value ...] [-]\n\
         \x20      millstream -v | --version\n\
         \x20      millstream -h | --help\n\
         \n\
         \x20 -            read more settings from the standard input\n\
         \x20 --save \"\"    with nothing said of appendonly: keep everything in memory only\n\
         \n\
         Later settings win. In the file each stands on a line, without the dashes.\n\
         \n\
         Settings (default; allowed):\n",
    );
    for setting in table::TABLE {
        let Setting { name, default, about, .. } = setting;
        let default = if default.is_empty() { "\"\"" } else { default };
        let fixed = if setting.when == When::Live { "" } else { "; at start only" };
        let range = setting.shape.range();
        let _ = write!(text, "\n  --{name}  ({default}; {range}{fixed})\n      {about}\n");
    }
    text.push_str("\nAccepted so that a redis.conf can be taken over, without effect:\n");
    let mut line = String::new();
    for setting in accepted::ACCEPTED {
        if line.len() + setting.name.len() > 90 {
            let _ = writeln!(text, " {line}");
            line.clear();
        }
        let _ = write!(line, " {}", setting.name);
    }
    let _ = writeln!(text, " {line}");
    text
}

#[cfg(test)]
mod tests;
