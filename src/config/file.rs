//! Configuration files and the command line, as Redis reads them.
//!
//! A line is a directive and its words; `#` begins a comment line. Words are split at blanks;
//! `"…"` understands `\xHH \n \r \t \b \a` and `\` before any other byte, `'…'` only `\'`. Later
//! lines win, but for `save`, whose lines add up: the first one drops the default, `""` all.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::accepted::{IGNORED, IGNORED_OF_VALKEY};
use crate::config::table::{Config, Setting};
use crate::config::value::{Reason, Shape};
use crate::glob;

/// How deep `include` may nest.
const INCLUDE_DEPTH: u32 = 16;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Invocation {
    /// Run with these settings.
    Run(Box<Config>),
    /// Print [`version`](crate::config::version) and end.
    Version,
    /// Print [`help`](crate::config::help) and end.
    Help,
    /// Look at a data directory, save what can be saved into another one, and end.
    Check {
        /// The directory.
        directory: PathBuf,
        /// Where to save.
        salvage: Option<PathBuf>,
    },
}

/// `check DIR [--salvage NEWDIR]`
fn check(args: &[String]) -> Result<Invocation, ConfigError> {
    let (directory, salvage) = match args {
        [directory] => (directory, None),
        [directory, option, new] if option == "--salvage" => (directory, Some(new)),
        _ => {
            return Err(ConfigError::Line {
                place: "the command line".to_owned(),
                line: None,
                text: format!("check {}", args.join(" ")),
                reason: "write: check DIR [--salvage NEWDIR]".to_owned(),
            });
        }
    };
    Ok(Invocation::Check { directory: directory.into(), salvage: salvage.map(PathBuf::from) })
}

/// A setting, or a file of settings, that cannot be read. Its text names the place, the line, and
/// what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A line, or an option of the command line.
    Line {
        /// The file, or what stands for it.
        place: String,
        /// The number of the line; `None` on the command line.
        line: Option<usize>,
        /// The line.
        text: String,
        /// Why it was refused.
        reason: String,
    },
    /// A file could not be read.
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Line { place, line, text, reason } => {
                let version = env!("CARGO_PKG_VERSION");
                writeln!(f, "*** FATAL CONFIG FILE ERROR (millstream {version}) ***")?;
                match line {
                    Some(line) => writeln!(f, "Reading {place}, at line {line}")?,
                    None => writeln!(f, "Reading {place}")?,
                }
                write!(f, ">>> '{text}'\n{reason}")
            }
            ConfigError::File { path, reason } => {
                write!(f, "Fatal error, can't open config file '{}': {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Splits a line into words, as inline commands and configuration files do; `None` if its quotes
/// do not match or a closing quote is not followed by a blank.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        // Redis: also a NUL ends the line.
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        rest = &rest[blanks..];
        if matches!(rest, [] | [0, ..]) {
            return Some(words);
        }
        words.push(split_word(&mut rest)?);
    }
}

/// Takes one word from the beginning of `rest`, which is not a blank.
fn split_word(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut word = Vec::new();
    let mut quote = None;
    loop {
        let taken = match (quote, *rest) {
            (None, [] | &[0, ..]) => return Some(word),
            // Redis: a vertical tab or a form feed separates words, but does not end one.
            (None, [b' ' | b'\t' | b'\n' | b'\r', ..]) => return Some(word),
            (None, &[mark @ (b'"' | b'\''), ..]) => {
                quote = Some(mark);
                1
            }
            (Some(_), [] | &[0, ..]) => return None,
            (Some(mark), &[byte, ref after @ ..]) if byte == mark => {
                let closed = after.first().is_none_or(|&byte| byte == 0 || is_blank(byte));
                *rest = after;
                return closed.then_some(word);
            }
            (Some(b'"'), &[b'\\', b'x', high, low, ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(high) << 4 | hex(low));
                4
            }
            (Some(b'"'), &[b'\\', escaped, ..]) if escaped != 0 => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                2
            }
            (Some(b'\''), &[b'\\', b'\'', ..]) => {
                word.push(b'\'');
                2
            }
            (_, &[byte, ..]) => {
                word.push(byte);
                1
            }
        };
        *rest = &rest[taken..];
    }
}

/// What C's `isspace` says.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    }
}

/// Reads settings one after the other.
struct Loader {
    config: Config,
    /// The settings that were named, by their newer names.
    said: BTreeSet<&'static str>,
}

impl Loader {
    /// Every line of a text. Includes are found from `base`.
    fn text(
        &mut self,
        text: &str,
        place: &str,
        base: &Path,
        depth: u32,
    ) -> Result<(), ConfigError> {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_matches([' ', '\t', '\r', '\n']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let failed = |reason: Reason| ConfigError::Line {
                place: place.to_owned(),
                line: Some(number + 1),
                text: line.to_owned(),
                reason: reason.into_owned(),
            };
            let words = words_of(line).map_err(failed)?;
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match words[..] {
                [] => {}
                [name, pattern] if name.eq_ignore_ascii_case("include") => {
                    if depth == INCLUDE_DEPTH {
                        return Err(failed("include is nested too deeply".into()));
                    }
                    self.include(&base.join(pattern), depth + 1)?;
                }
                [name, ref values @ ..] => self.directive(name, values).map_err(failed)?,
            }
        }
        Ok(())
    }

    /// Every file that a path with wildcards in its last part names, in order.
    fn include(&mut self, path: &Path, depth: u32) -> Result<(), ConfigError> {
        let pattern = path.file_name().unwrap_or_default().as_encoded_bytes();
        if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
            return self.file(path, depth);
        }
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        // A pattern that matches nothing is no error, also where the directory is missing.
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let bytes = name.as_encoded_bytes();
            if glob::matches(pattern, bytes, false) && !bytes.starts_with(b".") {
                self.file(&folder.join(&name), depth)?;
            }
        }
        Ok(())
    }

    /// Every line of a file.
    fn file(&mut self, path: &Path, depth: u32) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        let base = path.parent().unwrap_or_else(|| Path::new("."));
        self.text(&text, &path.display().to_string(), base, depth)
    }

    /// One directive.
    fn directive(&mut self, name: &str, values: &[&str]) -> Result<(), Reason> {
        let lower = name.to_ascii_lowercase();
        match (lower.as_str(), values) {
            ("user", [_, ..]) => {
                self.config.users.push(values.iter().map(|&word| word.to_owned()).collect());
                return Ok(());
            }
            ("rename-command", &[from, to]) => {
                self.config.renamed_commands.push((from.to_owned(), to.to_owned()));
                return Ok(());
            }
            _ => {}
        }
        let mut ignored = IGNORED.iter().chain(IGNORED_OF_VALKEY);
        if let Some(ignored) = ignored.find(|ignored| **ignored == lower) {
            self.config.accepted.insert(ignored, values.join(" "));
            return Ok(());
        }
        let setting = Setting::find(name).ok_or("Bad directive or wrong number of arguments")?;
        if values.is_empty() {
            return Err("wrong number of arguments".into());
        }
        let first = self.said.insert(setting.name);
        let earlier = self.config.save.clone();
        self.config.put(setting, values)?;
        if setting.shape == Shape::SavePoints && !first && !self.config.save.is_empty() {
            let added = std::mem::replace(&mut self.config.save, earlier);
            self.config.save.extend(added);
        }
        Ok(())
    }

    /// What follows from the settings together.
    fn finish(mut self) -> Config {
        // Kits that start many servers in one folder say `--save ""` and mean memory only; Redis
        // needs no more, as its append-only file is off by default.
        let memory_only = self.said.contains("save") && self.config.save.is_empty();
        if memory_only && !self.said.contains("appendonly") {
            self.config.appendonly = false;
        }
        // What is shown, logged, and rewritten stays true if the working directory changes.
        if let Ok(dir) = std::path::absolute(&self.config.dir) {
            self.config.dir = dir;
        }
        self.config
    }
}

/// The words of a line, which must be UTF-8.
fn words_of(line: &str) -> Result<Vec<String>, Reason> {
    let words = split_args(line.as_bytes()).ok_or("Unbalanced quotes in configuration line")?;
    let words: Result<Vec<String>, _> = words.into_iter().map(String::from_utf8).collect();
    words.map_err(|_| "argument must be valid UTF-8".into())
}

/// The error of a file that cannot be read.
fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    ConfigError::File { path: path.to_owned(), reason: error.to_string() }
}

impl Config {
    /// Reads the command line, without the name of the program: `[/path/to/redis.conf]
    /// [--directive value …] [-]`. `input` gives the text of the standard input; it is called if
    /// there is a `-`. The file is read first, then the input, then the options.
    ///
    /// # Errors
    /// [`ConfigError`] for a file that cannot be read and for the first setting that is refused.
    pub fn from_args(
        args: &[String],
        input: impl FnOnce() -> io::Result<String>,
    ) -> Result<Invocation, ConfigError> {
        match args.first().map(String::as_str) {
            Some("-v" | "--version") => return Ok(Invocation::Version),
            Some("-h" | "--help") => return Ok(Invocation::Help),
            Some("check") => return check(&args[1..]),
            _ => {}
        }
        let mut loader = Loader { config: Config::default(), said: BTreeSet::new() };
        let mut options = args;
        if let Some((path, rest)) = args.split_first()
            && !path.starts_with('-')
        {
            options = rest;
            let path =
                std::path::absolute(path).map_err(|error| unreadable(Path::new(path), &error))?;
            loader.file(&path, 0)?;
            loader.config.file = Some(path);
        }
        let dash = options.iter().position(|option| option == "-");
        let dash = dash.filter(|&at| at == 0 || at + 1 == options.len());
        if dash.is_some() {
            let place = "the standard input";
            let text = input().map_err(|error| unreadable(Path::new(place), &error))?;
            loader.text(&text, place, Path::new("."), 0)?;
        }
        let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
        if let Some(at) = dash {
            options.remove(at);
        }
        let mut rest = &options[..];
        while let Some((&option, after)) = rest.split_first() {
            let ends = |word: &&str| word.starts_with("--") && word.len() > 2;
            let count = after.iter().position(ends).unwrap_or(after.len());
            let (values, next) = after.split_at(count);
            loader.option(option, values)?;
            rest = next;
        }
        Ok(Invocation::Run(Box::new(loader.finish())))
    }

    /// Reads the text of a file, for what has no command line. Includes are found from `base`.
    ///
    /// # Errors
    /// As [`Config::from_args`].
    pub fn parse_file(text: &str, base: &Path) -> Result<Config, ConfigError> {
        let mut loader = Loader { config: Config::default(), said: BTreeSet::new() };
        loader.text(text, "the configuration file", base, 0)?;
        Ok(loader.finish())
    }

    /// CONFIG REWRITE: the text of the file, `old` before, with the present values. Comments,
    /// order, `include`, and lines that are no settings stay; a setting that is not there yet is
    /// added if it is not at its default.
    pub fn rewritten(&self, old: &str) -> String {
        let mut text = String::new();
        let mut written = BTreeSet::new();
        let mut add = |text: &mut String, setting: &Setting| {
            if written.insert(setting.name) {
                text.push_str(&self.line(setting));
            }
        };
        for line in old.lines() {
            let words = split_args(line.as_bytes()).unwrap_or_default();
            let name = words.first().map(|name| String::from_utf8_lossy(name).into_owned());
            match name.as_deref().and_then(Setting::find) {
                Some(setting) => add(&mut text, setting),
                None => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        let defaults = Config::default();
        let changed: Vec<_> = Setting::all()
            .filter(|setting| self.text(setting) != defaults.text(setting))
            .filter(|setting| !written.contains(setting.name))
            .collect();
        let mark = "# Generated by CONFIG REWRITE";
        if !changed.is_empty() && !old.lines().any(|line| line == mark) {
            text.push_str("\n# Generated by CONFIG REWRITE\n");
        }
        for setting in changed {
            text.push_str(&self.line(setting));
        }
        text
    }

    /// The line of a setting.
    fn line(&self, setting: &Setting) -> String {
        let (name, value) = (setting.name, self.text(setting));
        if setting.shape.takes_words() && !value.is_empty() {
            format!("{name} {value}\n")
        } else {
            format!("{name} {}\n", quoted(&value))
        }
    }
}

impl Loader {
    /// One option of the command line with its values.
    fn option(&mut self, option: &str, values: &[&str]) -> Result<(), ConfigError> {
        let failed = |reason: Reason| ConfigError::Line {
            place: "the command line".to_owned(),
            line: None,
            text: std::iter::once(&option).chain(values).copied().collect::<Vec<_>>().join(" "),
            reason: reason.into_owned(),
        };
        let Some(name) = option.strip_prefix("--") else {
            return Err(failed("Bad directive or wrong number of arguments".into()));
        };
        // Redis: `--save` without a value means `--save ""`.
        let none = name.eq_ignore_ascii_case("save") && values.is_empty();
        match values {
            &[path] if name.eq_ignore_ascii_case("include") => self.include(Path::new(path), 1),
            _ if none => self.directive(name, &[""]).map_err(failed),
            _ => self.directive(name, values).map_err(failed),
        }
    }
}

/// A value as one word of a line.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\#".contains(&byte);
    if !value.is_empty() && value.bytes().all(plain) {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\0' => text.push_str("\\x00"),
            _ => text.push(character),
        }
    }
    text.push('"');
    text
}
