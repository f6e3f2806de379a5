//! CONFIG: reading, changing and writing the settings of a running server.

use super::admin::Caller;
use super::{Core, save};
use crate::command::table::Name;
use crate::command::{Out, Request};
use crate::config::Config;
use crate::error::CommandError;
use crate::shard::Turn;
use std::path::Path;

/// CONFIG GET, SET, RESETSTAT, REWRITE. SET and RESETSTAT want all shards in hand.
pub(super) fn run(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    name: Name,
    request: &Request<'_>,
    caller: &Caller,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is left is GET")]
    match name {
        Name::ConfigSet => {
            set(core, turn, request, caller)?;
            out.ok();
        }
        Name::ConfigResetStat => {
            core.stats.reset();
            for shard in turn.shards_mut() {
                let space = shard.keyspace_mut();
                (space.hits, space.misses) = (0, 0);
                (space.expired_keys, space.expired_keys_active) = (0, 0);
            }
            out.ok();
        }
        Name::ConfigRewrite => {
            rewrite(&core.config())?;
            out.ok();
        }
        _ => {
            let patterns: Vec<&[u8]> = request.from(2).collect();
            let found = core.config().get(&patterns);
            out.map(found.len());
            for (name, value) in found {
                out.bulk(name.as_bytes());
                out.bulk(value.as_bytes());
            }
        }
    }
    Ok(())
}

fn set(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    request: &Request<'_>,
    caller: &Caller,
) -> Result<(), CommandError> {
    if !request.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let pairs: Vec<(&[u8], &[u8])> =
        request.from(2).step_by(2).zip(request.from(3).step_by(2)).collect();
    let mut config = (*core.config()).clone();
    let changed = config.set(&pairs, caller.local)?;
    if changed.contains(&"appendonly") {
        if caller.in_transaction {
            // Differs from Redis, which does it later: the log must have all of a transaction or
            // nothing, and whoever asks wants to know how it went.
            return Err(CommandError::Fixed(
                "ERR CONFIG SET failed (possibly related to argument 'appendonly') - not allowed \
                 inside a transaction",
            ));
        }
        save::switch(core, turn, config.appendonly).map_err(|refusal| {
            tracing::error!("appendonly stays as it is: {refusal:?}");
            CommandError::Fixed(
                "ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to \
                 turn on AOF. Check server logs.",
            )
        })?;
    }
    if !changed.is_empty() {
        core.set_config(config, turn);
    }
    Ok(())
}

/// Writes the settings into the configuration file: a new file takes the place of the old one.
fn rewrite(config: &Config) -> Result<(), CommandError> {
    let Some(path) = &config.file else {
        return Err(CommandError::Fixed("ERR The server is running without a config file"));
    };
    replace(path, config)
        .map_err(|error| CommandError::composed(format!("ERR Rewriting config file: {error}")))
}

fn replace(path: &Path, config: &Config) -> std::io::Result<()> {
    let old = match std::fs::read_to_string(path) {
        Ok(old) => old,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    std::fs::write(&name, config.rewritten(&old))?;
    std::fs::File::open(&name)?.sync_all()?;
    std::fs::rename(&name, path)
}
