//! What a machine can hold of the house style: imports point down, files, functions and lines
//! keep their limits, every file says what it is for, names are the field's words, no lint is
//! switched off, and the README lists exactly the commands of the table and the packages that the
//! library depends on.

use millstream::command::table::TABLE;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a file, at most.
const FILE_LINES: usize = 800;
/// Matches with one arm for each variant: in pieces they would hide that they are complete.
const ONE_ARM_EACH: [(&str, &str); 2] =
    [("src/stream/effect.rs", "encode"), ("src/stream/mod.rs", "apply_to_group")];
/// Lines of a function from its name to its brace, at most.
const FUNCTION_LINES: usize = 70;
/// Characters of a line, at most.
const LINE_CHARS: usize = 100;

/// Which module of the crate may use which; each also itself. `main` sees the public API.
const IMPORTS: [(&str, &[&str]); 16] = [
    ("error", &[]),
    ("sync", &[]),
    ("glob", &[]),
    ("codec", &["error"]),
    ("rax", &["error"]),
    ("config", &["error", "glob"]),
    ("stream", &["rax", "codec", "error"]),
    ("rdb", &["stream", "codec", "error"]),
    ("keyspace", &["stream", "codec", "config", "error"]),
    ("persist", &["codec", "error"]),
    ("pubsub", &["error", "glob"]),
    ("command", &["keyspace", "rdb", "stream", "config", "error", "glob"]),
    (
        "shard",
        &["command", "persist", "pubsub", "keyspace", "stream", "codec", "config", "error", "sync"],
    ),
    (
        "db",
        &[
            "shard", "rdb", "pubsub", "command", "persist", "keyspace", "stream", "codec",
            "config", "error", "glob",
        ],
    ),
    (
        "server",
        &[
            "db", "shard", "pubsub", "command", "persist", "keyspace", "stream", "codec", "config",
            "error", "glob", "sync",
        ],
    ),
    ("testing", &["persist", "error"]),
];

/// Words that never stand in the name of a type: `house-style.md` has the word to say instead.
const BANNED: [&str; 14] = [
    "Message",
    "Topic",
    "Partition",
    "Worker",
    "Trie",
    "Member",
    "Unacked",
    "Orphan",
    "Token",
    "Subscription",
    "Mutation",
    "Journal",
    "Wal",
    "Manager",
];

/// Types whose name is another trade's word for another thing.
const ALLOWED_NAMES: [&str; 1] = ["Message"];

/// A source file: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files of the project, in order.
fn sources() -> Vec<Source> {
    let mut all = Vec::new();
    for directory in ["src", "tests", "benches", "fuzz/fuzz_targets", "examples"] {
        collect(&root().join(directory), &mut all);
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(all.len() > 50, "the files were not found");
    all
}

fn collect(directory: &Path, all: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.expect("a directory can be listed").path();
        if path.is_dir() {
            // A program of its own has its build beside it.
            if !path.ends_with("target") {
                collect(&path, all);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file can be read");
            let path = path.strip_prefix(root()).expect("it is below the root");
            all.push(Source { path: path.to_string_lossy().into_owned(), text });
        }
    }
}

/// Fails with all complaints at once.
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The code of a line, without its comment.
fn code(line: &str) -> &str {
    let line = line.trim_start();
    if line.starts_with("//") { "" } else { line }
}

/// The file's code without its unit tests, which stand at its foot or in a file of their own.
fn product_code(source: &Source) -> &str {
    let is_test = source.path.ends_with("tests.rs") || source.path.ends_with("testing.rs");
    if is_test {
        return "";
    }
    source.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

#[test]
fn imports_point_down() {
    let mut complaints = Vec::new();
    for source in sources() {
        let Some(path) = source.path.strip_prefix("src/") else { continue };
        let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let row = IMPORTS.iter().find(|(name, _)| *name == module);
        let allowed = row.map_or(&[][..], |(_, allowed)| allowed);
        if row.is_none() && module != "main" {
            complaints.push(format!("{}: the module is not in the table", source.path));
        }
        let lines = product_code(&source).lines().map(code);
        for name in lines.flat_map(|line| line.split("crate::").skip(1)) {
            let end = name.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let name = &name[..end.unwrap_or(name.len())];
            if name != module && !allowed.contains(&name) {
                complaints.push(format!("{}: uses {name:?}", source.path));
            }
        }
    }
    none(complaints);
}

#[test]
fn the_table_of_imports_has_no_cycle() {
    let mut below: BTreeSet<&str> = BTreeSet::new();
    while below.len() < IMPORTS.len() {
        let next = IMPORTS.iter().find(|(name, allowed)| {
            !below.contains(name) && allowed.iter().all(|other| below.contains(other))
        });
        let (name, _) = next.expect("the modules that are left form a cycle");
        below.insert(name);
    }
}

#[test]
fn files_and_lines_keep_their_limits() {
    let mut complaints = Vec::new();
    for Source { path, text } in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES {
            complaints.push(format!("{path}: {lines} lines"));
        }
        for (n, line) in text.lines().enumerate() {
            let chars = line.chars().count();
            // A row of a table cannot be broken.
            if chars > LINE_CHARS && !line.starts_with("//! |") {
                complaints.push(format!("{path}:{}: {chars} characters", n + 1));
            }
        }
    }
    none(complaints);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    // A fuzz target says first that it has no `main`.
    let silent = silent.filter(|source| !source.text.starts_with("#![no_main]\n//! "));
    none(silent.map(|source| source.path).collect());
}

#[test]
fn functions_keep_their_limit() {
    let mut complaints = Vec::new();
    for Source { path, text } in sources() {
        let mut open: Vec<(usize, usize, &str)> = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if let Some(name) = function_name(code(line)) {
                open.push((n, indent, name));
            }
            // rustfmt puts the last brace under the first word.
            let Some(&(start, at, name)) = open.last() else { continue };
            let one_line = n == start && line.trim_end().ends_with('}');
            let ends = indent == at && (line.trim() == "}" || one_line);
            if ends || (n >= start && line.trim_end().ends_with(");") && indent == at) {
                open.pop();
                let lines = n + 1 - start;
                if lines > FUNCTION_LINES && !ONE_ARM_EACH.contains(&(path.as_str(), name)) {
                    complaints.push(format!("{path}:{}: {name} has {lines} lines", start + 1));
                }
            }
        }
    }
    none(complaints);
}

/// The name of the function that a line begins to define; a line that only declares one does not.
fn function_name(line: &str) -> Option<&str> {
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "extern", "unsafe"];
    let mut rest = line;
    while let Some((word, after)) = rest.split_once(' ') {
        if word == "fn" {
            let end = after.find(['(', '<'])?;
            return (!line.trim_end().ends_with(';')).then_some(&after[..end]);
        }
        if !words.contains(&word) && !word.starts_with("pub(") {
            return None;
        }
        rest = after;
    }
    None
}

#[test]
fn names_are_the_words_of_the_field() {
    let mut complaints = Vec::new();
    for source in sources() {
        for (n, line) in source.text.lines().enumerate() {
            for keyword in ["struct ", "enum ", "trait "] {
                let line = code(line);
                let Some((before, name)) = line.split_once(keyword) else { continue };
                if !before.is_empty() && !before.starts_with("pub") {
                    continue;
                }
                let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
                let name = &name[..end];
                let banned = BANNED.iter().any(|word| has_word(name, word));
                if banned && !ALLOWED_NAMES.contains(&name) {
                    complaints.push(format!("{}:{}: {name}", source.path, n + 1));
                }
            }
        }
    }
    none(complaints);
}

/// Whether one of the words that a type's name is made of is this one.
fn has_word(name: &str, word: &str) -> bool {
    name.match_indices(word)
        .any(|(at, _)| !name[at + word.len()..].starts_with(|c: char| c.is_ascii_lowercase()))
}

#[test]
fn no_lint_is_switched_off() {
    /// The one exception: unit tests stop where they cannot go on.
    const UNIT_TESTS: &str = "#![cfg_attr(test, allow(clippy::unwrap_used))]";
    let mut complaints = Vec::new();
    for Source { path, text } in sources() {
        for (n, line) in text.lines().enumerate() {
            let attribute = code(line).starts_with("#[") || code(line).starts_with("#![");
            let excepted = path == "src/lib.rs" && line == UNIT_TESTS;
            if attribute && line.contains(&["allow", "("].concat()) && !excepted {
                complaints.push(format!("{path}:{}: {line}", n + 1));
            }
        }
    }
    none(complaints);
}

#[test]
fn the_readme_lists_exactly_the_commands_of_the_table() {
    let text = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let listed = text.split("<!-- commands -->").nth(1);
    let listed = listed.and_then(|rest| rest.split("<!-- /commands -->").next());
    let listed = listed.expect("the README marks its table of commands");
    let rows = listed.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<String> =
        rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect();
    let known: BTreeSet<String> = TABLE
        .iter()
        .filter(|row| row.container.is_none())
        .map(|row| row.full_name().to_uppercase())
        .collect();
    let missing = known.difference(&listed).map(|name| format!("the README lacks {name}"));
    let unknown = listed.difference(&known).map(|name| format!("the README has {name}"));
    none(missing.chain(unknown).collect());
}

/// What cargo builds for the library alone, without itself: `depth` steps away at most.
fn packages(depth: &str) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--offline", "--no-default-features", "--edges", "normal,build"]);
    tree.args(["--prefix", "none", "--depth", depth]).current_dir(root());
    let told = tree.output().expect("cargo runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let lines = String::from_utf8_lossy(&told.stdout).into_owned();
    let lines = lines.lines().skip(1).filter(|line| !line.is_empty());
    lines.map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

#[test]
fn the_readme_lists_and_counts_what_the_library_depends_on() {
    let text = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let count = packages("99").len();
    let mut complaints = Vec::new();
    if !text.contains(&format!("Without serde {count} packages are built")) {
        complaints.push(format!("{count} packages are built without serde"));
    }
    let direct = packages("1");
    if !text.contains(&format!("These are {} direct dependencies and serde", direct.len())) {
        complaints.push(format!("there are {} direct dependencies", direct.len()));
    }
    let table = text.lines().filter(|line| line.starts_with("| `")).collect::<String>();
    for package in &direct {
        let name = package.split(' ').next().unwrap_or_default();
        if !table.contains(&format!("`{name}`")) {
            complaints.push(format!("{name} has no row"));
        }
    }
    none(complaints);
}

#[test]
fn every_test_that_the_readme_names_is_there() {
    let text = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let named: Vec<(&str, &str)> =
        text.split('`').filter_map(|word| word.split_once(".rs::")).collect();
    assert!(!named.is_empty(), "what is promised names its tests");
    let missing = named.iter().filter(|(file, test)| {
        let source = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
        !source.contains(&format!("#[test]\nfn {test}()"))
    });
    none(missing.map(|(file, test)| format!("{file}.rs has no test {test}")).collect());
}

#[test]
fn every_setting_is_used_or_said_to_have_no_effect() {
    let all = sources();
    let table = all.iter().find(|source| source.path.ends_with("config/table.rs"));
    let table = table.expect("the settings have a table");
    // A row with a place of its own: `name: Type, "name" "default" …`.
    let fields = table.text.lines().filter_map(|line| {
        let (field, rest) = line.strip_prefix("    ")?.split_once(": ")?;
        let name = format!("\"{}\"", field.replace('_', "-"));
        rest.contains(&name).then_some(field)
    });
    let unused = fields.filter(|field| {
        let used = [format!(".{field}"), format!("{field}:")];
        !all.iter()
            .filter(|source| source.path.starts_with("src/") && source.path != table.path)
            .any(|source| {
                product_code(source)
                    .lines()
                    .any(|line| used.iter().any(|used| code(line).contains(used)))
            })
    });
    none(unused.map(|field| format!("the setting {field} does nothing")).collect());
}
