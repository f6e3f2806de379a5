//! COMMAND and its subcommands, ACL CAT, and the HELP of every container: what the server says
//! about its commands. All of it comes from the table; nothing here touches data.

mod grammar;
mod help;
#[cfg(test)]
mod tests;

pub use help::help;

use std::ops::Range;

use self::grammar::{Argument, Kind};
use crate::command::args::{Request, is_word};
use crate::command::reply::Out;
use crate::command::table::{self, Categories, Keys, Name, Row, TABLE};
use crate::error::CommandError;
use crate::glob;

/// Answers COMMAND or the subcommand of it that `row` is.
///
/// # Errors
/// A refusal; nothing was written.
pub fn command(row: &Row, request: &Request<'_>, out: &mut Out<'_>) -> Result<(), CommandError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is left is COMMAND and INFO")]
    match row.name {
        Name::CommandCount => out.count(commands().count()),
        Name::CommandDocs => command_docs(request, out),
        Name::CommandGetKeys => return command_getkeys(request, out),
        Name::CommandGetKeysAndFlags => return command_getkeysandflags(request, out),
        Name::CommandList => return command_list(request, out),
        Name::CommandHelp => help(row.name, out),
        _ => command_info(request, out),
    }
    Ok(())
}

/// COMMAND, COMMAND INFO: the commands named after the second argument, or all; nothing in place
/// of an unknown one.
pub fn command_info(request: &Request<'_>, out: &mut Out<'_>) {
    let names = request.from(2);
    if names.len() == 0 {
        out.array(commands().count());
        commands().for_each(|row| info(row, out));
        return;
    }
    out.array(names.len());
    for name in names {
        match table::find(name) {
            Some(row) => info(row, out),
            None => out.null(),
        }
    }
}

/// COMMAND DOCS: the documentation of the commands named after the second argument, or of all;
/// unknown ones are left out.
pub fn command_docs(request: &Request<'_>, out: &mut Out<'_>) {
    let names = request.from(2);
    if names.len() == 0 {
        return docs_of(commands(), out);
    }
    docs_of(names.filter_map(table::find), out);
}

/// COMMAND LIST: the names of all commands and subcommands, or of those that a filter lets pass.
///
/// # Errors
/// [`CommandError::Syntax`].
pub fn command_list(request: &Request<'_>, out: &mut Out<'_>) -> Result<(), CommandError> {
    let filter = request.arg(4);
    let passes: Box<dyn Fn(&Row) -> bool + '_> = match request.len() {
        2 => Box::new(|_| true),
        5 if !is_word(request.arg(2), "FILTERBY") => return Err(CommandError::Syntax),
        5 if is_word(request.arg(3), "MODULE") => Box::new(|_| false),
        5 if is_word(request.arg(3), "ACLCAT") => {
            let category = Categories::find(filter);
            Box::new(move |row| category.is_some_and(|category| row.categories().has(category)))
        }
        5 if is_word(request.arg(3), "PATTERN") => {
            Box::new(|row| glob::matches(filter, row.full_name().as_bytes(), true))
        }
        _ => return Err(CommandError::Syntax),
    };
    names(TABLE.iter().filter(|row| passes(row)), out);
    Ok(())
}

/// COMMAND GETKEYS: which arguments of the command that follows are keys.
///
/// # Errors
/// Not a command, or not one with keys, or its keys cannot be told.
pub fn command_getkeys(request: &Request<'_>, out: &mut Out<'_>) -> Result<(), CommandError> {
    let (_, inner, indexes) = inner_keys(request)?;
    out.array(indexes.len());
    indexes.for_each(|index| out.bulk(inner.arg(index)));
    Ok(())
}

/// COMMAND GETKEYSANDFLAGS: the same, and what the command does to each key.
///
/// # Errors
/// As for GETKEYS.
pub fn command_getkeysandflags(
    request: &Request<'_>,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    let (row, inner, indexes) = inner_keys(request)?;
    out.array(indexes.len());
    for (i, index) in indexes.enumerate() {
        out.array(2);
        out.bulk(inner.arg(index));
        simple_set(key_flags(row, i, &inner).split(' '), out);
    }
    Ok(())
}

/// ACL CAT: the categories, or the commands of one.
///
/// # Errors
/// No such category, or too many arguments.
pub fn acl_cat(request: &Request<'_>, out: &mut Out<'_>) -> Result<(), CommandError> {
    match request.len() {
        2 => {
            out.array(Categories::all().len());
            Categories::all().iter().for_each(|name| out.bulk(name.as_bytes()));
        }
        3 => {
            let name = request.arg(2);
            let category = Categories::find(name)
                .ok_or_else(|| CommandError::quoting("ERR Unknown category '{}'", &[name]))?;
            let in_category = |row: &&Row| row.categories().has(category);
            names(TABLE.iter().filter(in_category), out);
        }
        _ => {
            return Err(CommandError::Fixed(
                "ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.",
            ));
        }
    }
    Ok(())
}

/// The rows that are no subcommands.
fn commands() -> impl Iterator<Item = &'static Row> + Clone {
    TABLE.iter().filter(|row| row.container.is_none())
}

/// An array of names.
fn names(rows: impl Iterator<Item = &'static Row> + Clone, out: &mut Out<'_>) {
    out.array(rows.clone().count());
    rows.for_each(|row| out.bulk(row.full_name().as_bytes()));
}

/// A set of simple strings.
fn simple_set(words: impl Iterator<Item = impl AsRef<str>> + Clone, out: &mut Out<'_>) {
    out.set(words.clone().count());
    words.for_each(|word| out.simple(word.as_ref()));
}

/// The ten elements of COMMAND INFO.
fn info(row: &Row, out: &mut Out<'_>) {
    out.array(10);
    out.bulk(row.full_name().as_bytes());
    out.integer(i64::from(row.arity));
    simple_set(row.flags.shown(), out);
    let (first, last, step) = match row.keys {
        Keys::Range { first, last, step } => (first, last, step),
        Keys::None | Keys::Streams { .. } | Keys::Counted { .. } => (0, 0, 0),
    };
    out.count(first);
    out.integer(signed(last));
    out.count(step);
    simple_set(row.categories().words().map(|word| format!("@{word}")), out);
    out.set(row.tips.len());
    row.tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(row.key_flags.len());
    (0..row.key_flags.len()).for_each(|i| key_spec(row, i, out));
    if row.subcommands == 0 {
        // Redis: an empty set, though a full one is an array.
        return out.set(0);
    }
    out.array(row.subcommands);
    row.subcommands().iter().for_each(|subcommand| info(subcommand, out));
}

/// One key specification: where to begin, and which arguments from there are keys.
fn key_spec(row: &Row, i: usize, out: &mut Out<'_>) {
    let flags = row.key_flags[i];
    let noted = !row.key_note.is_empty();
    out.map(3 + usize::from(noted));
    if noted {
        out.bulk(b"notes");
        out.bulk(row.key_note.as_bytes());
    }
    out.bulk(b"flags");
    simple_set(flags.split(' '), out);
    let index = |at: usize| ("index", vec![("index", Figure::Number(signed_place(at)))]);
    // What is counted begins at the first key; what is below zero, at the end.
    let range = |last, step, limit| {
        let spec = [("lastkey", signed(last)), ("keystep", step), ("limit", limit)];
        ("range", spec.map(|(name, value)| (name, Figure::Number(value))).to_vec())
    };
    let (begin, find) = match row.keys {
        Keys::None => (("index", Vec::new()), range(0, 1, 0)),
        Keys::Range { first, last, step } => {
            (index(first + i), range(last.min(0), signed_place(step), 0))
        }
        Keys::Counted { at, step } => {
            let step = signed_place(step);
            let spec = [("keynumidx", 0), ("firstkey", 1), ("keystep", step)];
            let spec = spec.map(|(name, value)| (name, Figure::Number(value))).to_vec();
            (index(at), ("keynum", spec))
        }
        Keys::Streams { from } => {
            let from = Figure::Number(signed_place(from));
            let spec = vec![("keyword", Figure::Word("STREAMS")), ("startfrom", from)];
            (("keyword", spec), range(-1, 1, 2))
        }
    };
    for (part, (kind, spec)) in [("begin_search", begin), ("find_keys", find)] {
        out.bulk(part.as_bytes());
        out.map(2);
        out.bulk(b"type");
        out.bulk(kind.as_bytes());
        out.bulk(b"spec");
        out.map(spec.len());
        for (name, figure) in spec {
            out.bulk(name.as_bytes());
            match figure {
                Figure::Word(word) => out.bulk(word.as_bytes()),
                Figure::Number(number) => out.integer(number),
            }
        }
    }
}

/// A value in a key specification.
#[derive(Debug, Clone, Copy)]
enum Figure {
    Word(&'static str),
    Number(i64),
}

/// The place of an argument.
fn signed_place(value: usize) -> i64 {
    i64::try_from(value).expect("places of arguments are small")
}

/// A small number of either sign.
fn signed(value: isize) -> i64 {
    i64::try_from(value).expect("places of arguments are small")
}

/// The command after COMMAND GETKEYS: its row, its request, and its keys.
fn inner_keys<'a>(
    request: &Request<'a>,
) -> Result<(&'static Row, Request<'a>, table::KeyIndexes), CommandError> {
    let inner = Request::borrowed(request.buffer, &request.spans[2..]);
    let Ok(row) = table::named(&inner) else {
        return Err(CommandError::Fixed("ERR Invalid command specified"));
    };
    if row.key_flags.is_empty() || row.key_flags == ["not_key"] {
        return Err(CommandError::Fixed("ERR The command has no key arguments"));
    }
    if !row.accepts(inner.len()) {
        return Err(CommandError::Fixed("ERR Invalid number of arguments specified for command"));
    }
    let indexes = table::keys(row, &inner)?;
    Ok((row, inner, indexes))
}

/// What a command does to its key number `i`.
fn key_flags(row: &Row, i: usize, request: &Request<'_>) -> &'static str {
    if row.name == Name::Set {
        // Redis: the specification is for all forms of SET, this for the one at hand.
        let gets = request.from(3).any(|arg| is_word(arg, "GET"));
        return if gets { "RW access update" } else { "OW update" };
    }
    row.key_flags[i.min(row.key_flags.len() - 1)]
}

/// A map from name to documentation.
fn docs_of(rows: impl Iterator<Item = &'static Row> + Clone, out: &mut Out<'_>) {
    out.map(rows.clone().count());
    for row in rows {
        out.bulk(row.full_name().as_bytes());
        docs(row, out);
    }
}

/// The documentation of one command.
fn docs(row: &Row, out: &mut Out<'_>) {
    let arguments = grammar::parse(row.grammar);
    let fields = 4
        + if row.deprecated.is_some() { 3 } else { 0 }
        + usize::from(!row.history.is_empty())
        + usize::from(!arguments.is_empty())
        + usize::from(row.subcommands > 0);
    out.map(fields);
    text_field("summary", row.summary, out);
    text_field("since", row.since, out);
    text_field("group", row.group, out);
    text_field("complexity", row.complexity, out);
    if let Some((since, replacement)) = row.deprecated {
        out.bulk(b"doc_flags");
        simple_set(["deprecated"].iter(), out);
        text_field("deprecated_since", since, out);
        text_field("replaced_by", replacement, out);
    }
    if !row.history.is_empty() {
        out.bulk(b"history");
        out.set(row.history.len());
        for (version, text) in row.history {
            out.array(2);
            out.bulk(version.as_bytes());
            out.bulk(text.as_bytes());
        }
    }
    if !arguments.is_empty() {
        out.bulk(b"arguments");
        let mut specs = 0..row.key_flags.len();
        argument_list(&arguments, &mut specs, out);
    }
    if row.subcommands > 0 {
        out.bulk(b"subcommands");
        docs_of(row.subcommands().iter(), out);
    }
}

/// Arguments in the order of the grammar; each that is a key takes the next of `specs`.
fn argument_list(arguments: &[Argument], specs: &mut Range<usize>, out: &mut Out<'_>) {
    out.array(arguments.len());
    for argument in arguments {
        let shown = matches!(argument.kind, Kind::Value(_) | Kind::PureToken);
        let spec = if argument.kind == Kind::Value("key") { specs.next() } else { None };
        let marks = [(argument.optional, "optional"), (argument.multiple, "multiple")];
        let marks = marks.iter().filter(|(set, _)| *set).map(|(_, word)| *word);
        let marked = argument.optional || argument.multiple;
        let fields =
            [shown, spec.is_some(), argument.token.is_some(), marked, !argument.inner.is_empty()];
        out.map(2 + fields.iter().filter(|present| **present).count());
        text_field("name", &argument.name, out);
        text_field("type", argument.kind.name(), out);
        if shown {
            text_field("display_text", &argument.name, out);
        }
        if let Some(spec) = spec {
            out.bulk(b"key_spec_index");
            out.count(spec);
        }
        if let Some(token) = argument.token {
            text_field("token", token, out);
        }
        if marked {
            out.bulk(b"flags");
            simple_set(marks, out);
        }
        if !argument.inner.is_empty() {
            out.bulk(b"arguments");
            argument_list(&argument.inner, specs, out);
        }
    }
}

/// A name and a text, both bulk strings.
fn text_field(name: &str, text: &str, out: &mut Out<'_>) {
    out.bulk(name.as_bytes());
    out.bulk(text.as_bytes());
}
