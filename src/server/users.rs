//! The one user there is, `default`: its password, and what ACL tells of it.

use super::client::Around;
use crate::command::args::strict_integer;
use crate::command::{Name, Out, Request, docs, table};
use crate::config::Config;
use crate::error::CommandError;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Bits of a password of ACL GENPASS, at most.
const PASSWORD_BITS_MAX: usize = 4096;

/// Whether it is the password of the default user, or that needs none. The time does not tell how
/// much of it is right.
pub(super) fn is_password(password: &[u8], config: &Config) -> bool {
    let right = Sha256::digest(config.requirepass.as_bytes());
    let given = Sha256::digest(password);
    let differences = right.iter().zip(given.iter()).fold(0, |all, (a, b)| all | (a ^ b));
    config.requirepass.is_empty() || differences == 0
}

/// Runs a subcommand of ACL.
///
/// # Errors
/// As the command.
pub(super) fn run(
    name: Name,
    request: &Request<'_>,
    around: Around<'_>,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    let password = password_hash(around.config);
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other subcommand runs here")]
    match name {
        Name::AclCat => return docs::acl_cat(request, out),
        Name::AclDelUser => {
            if request.from(2).any(|user| user == b"default") {
                return Err(CommandError::Fixed("ERR The 'default' user cannot be removed"));
            }
            out.integer(0);
        }
        Name::AclDryRun => dry_run(request, out)?,
        Name::AclGenPass => generate(request, out)?,
        Name::AclGetUser => match request.arg(2) {
            b"default" => describe(password.as_deref(), around.is_valkey(), out),
            _ => out.null(),
        },
        Name::AclLoad | Name::AclSave => return Err(no_file(around)),
        Name::AclLog => return around.server.denied.run(request, around, out),
        Name::AclList => {
            let open = if password.is_none() { " nopass" } else { "" };
            let sanitize = if around.is_valkey() { "" } else { " sanitize-payload" };
            let hash = password.map_or_else(String::new, |hash| format!(" #{hash}"));
            let line = format!("user default on{open}{sanitize}{hash} ~* &* +@all");
            out.array(1);
            out.bulk(line.as_bytes());
        }
        Name::AclUsers => {
            out.array(1);
            out.bulk(b"default");
        }
        Name::AclWhoAmI => out.bulk(b"default"),
        _ => unreachable!("{} is no subcommand of ACL", name.full_name()),
    }
    Ok(())
}

/// ACL DRYRUN: the one user may do everything that is a command.
fn dry_run(request: &Request<'_>, out: &mut Out<'_>) -> Result<(), CommandError> {
    let user = request.arg(2);
    if user != b"default" {
        return Err(CommandError::quoting("ERR User '{}' not found", &[user]));
    }
    let inner = Request::borrowed(request.buffer, &request.spans[3..]);
    let row = table::named(&inner)
        .map_err(|_| CommandError::quoting("ERR Command '{}' not found", &[inner.arg(0)]))?;
    if !row.accepts(inner.len()) {
        return Err(CommandError::arity(row.full_name()));
    }
    out.ok();
    Ok(())
}

/// The refusal of ACL LOAD and ACL SAVE: there is one user, who needs no file.
fn no_file(around: Around<'_>) -> CommandError {
    CommandError::Fixed(if around.is_valkey() {
        "ERR This instance is not configured to use an ACL file. You may want to specify users via \
         the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a \
         configuration file set) in order to store users in the configuration."
    } else {
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify \
         users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a \
         Redis configuration file set) in order to store users in the Redis configuration."
    })
}

/// The SHA-256 of the default user's password in hexadecimal digits, if it has one.
fn password_hash(config: &Config) -> Option<String> {
    let password = config.requirepass.as_bytes();
    (!password.is_empty()).then(|| hexadecimal(&Sha256::digest(password)))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// ACL GETUSER.
fn describe(password: Option<&str>, valkey: bool, out: &mut Out<'_>) {
    out.map(if valkey { 7 } else { 6 });
    out.bulk(b"flags");
    let flags = [Some("on"), password.is_none().then_some("nopass"), {
        (!valkey).then_some("sanitize-payload")
    }];
    out.set(flags.iter().flatten().count());
    flags.iter().flatten().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    out.array(usize::from(password.is_some()));
    if let Some(hash) = password {
        out.bulk(hash.as_bytes());
    }
    for (field, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        out.bulk(field.as_bytes());
        out.bulk(value.as_bytes());
    }
    if valkey {
        out.bulk(b"databases");
        out.bulk(b"alldbs");
    }
    out.bulk(b"selectors");
    out.array(0);
}

/// ACL GENPASS.
fn generate(request: &Request<'_>, out: &mut Out<'_>) -> Result<(), CommandError> {
    let bits = match request.get(2) {
        None => 256,
        Some(_) if request.len() > 3 => {
            return Err(CommandError::subcommand_syntax("ACL", request.arg(1)));
        }
        Some(text) => {
            let bits = strict_integer(text).ok_or(CommandError::NotAnInteger)?;
            match usize::try_from(bits) {
                Ok(bits @ 1..=PASSWORD_BITS_MAX) => bits,
                _ => {
                    return Err(CommandError::Fixed(
                        "ERR ACL GENPASS argument must be the number of bits for the output \
                         password, a positive number up to 4096",
                    ));
                }
            }
        }
    };
    let digits = bits.div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    let mut filled = 0;
    while filled < bytes.len() {
        let n =
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty());
        filled +=
            n.map_err(|error| CommandError::composed(format!("ERR no randomness: {error}")))?;
    }
    out.bulk(&hexadecimal(&bytes).as_bytes()[..digits]);
    Ok(())
}
