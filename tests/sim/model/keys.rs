//! The model's commands on keys of any type and on strings; the periodic task of producers.

use super::words::{NOT_AN_INTEGER, integer, integer_or, is_word, lossy};
use super::{Answer, Bytes, Held, Model, NO_KEY, SYNTAX, Stream, Value, WRONG_TYPE};
use crate::reply::Reply;
use crate::workload::{DATABASES, Hand};
use std::collections::BTreeSet;

const SAME: &str = "ERR source and destination objects are the same";
/// Commands that look their first key up themselves, or have none.
const NO_FIRST: [&str; 5] = ["rename", "copy", "move", "swapdb", "restore-dump-of"];

/// The number of a database, which is one that exists.
fn number_of_db(word: &[u8]) -> u8 {
    u8::try_from(integer(word).unwrap()).unwrap()
}

impl Model {
    pub(super) fn answer_any_type(&mut self, name: &str, words: &[Bytes]) -> Answer {
        for key in words[1..].iter().take(usize::from(!NO_FIRST.contains(&name))) {
            if name != "pexpire" && name != "set" {
                self.expire(key);
            }
        }
        match name {
            "del" => Ok(self.del(words)),
            "exists" => {
                words[1..].iter().for_each(|key| self.expire(key));
                let all = words[1..].iter().filter(|key| self.keys.contains_key(*key));
                Ok(Reply::count(all.count()))
            }
            "type" => Ok(Reply::Simple(match self.keys.get(&words[1]).map(|held| &held.value) {
                Some(Value::Stream(_)) => "stream",
                Some(Value::String(_)) => "string",
                None => "none",
            })),
            "rename" => self.rename(words),
            "copy" => self.copy(words),
            "pexpire" => self.pexpire(words),
            "pttl" => {
                let now = self.now;
                let held = self.keys.get(&words[1]);
                let ttl = held.map(|held| held.expire_at.map(|at| i128::from(at - now)));
                Ok(Reply::Int(ttl.map_or(-2, |at| at.unwrap_or(-1))))
            }
            "persist" => {
                let held = self.keys.get_mut(&words[1]);
                let had = held.is_some_and(|held| held.expire_at.take().is_some());
                Ok(Reply::Int(had.into()))
            }
            "set" => self.set(words),
            "get" => match self.keys.get(&words[1]).map(|held| &held.value) {
                None => Ok(Reply::Null),
                Some(Value::String(string)) => Ok(Reply::bulk(string)),
                Some(Value::Stream(_)) => Err(WRONG_TYPE.into()),
            },
            "incr" => self.incr(&words[1]),
            "flushall" if words.len() == 1 => {
                for db in 0..DATABASES {
                    self.select(db);
                    self.flush();
                }
                Ok(Reply::Simple("OK"))
            }
            "flushdb" if words.len() == 1 => {
                self.flush();
                Ok(Reply::Simple("OK"))
            }
            "move" => self.move_to(&words[1], number_of_db(&words[2])),
            "swapdb" => {
                self.swap(number_of_db(&words[1]), number_of_db(&words[2]));
                Ok(Reply::Simple("OK"))
            }
            "restore-dump-of" => Ok(self.restore(words)),
            _ => Err(SYNTAX.into()),
        }
    }

    fn del(&mut self, words: &[Bytes]) -> Reply {
        let mut removed = 0;
        for key in &words[1..] {
            self.expire(key);
            removed += usize::from(self.remove(key).is_some());
        }
        Reply::count(removed)
    }

    fn rename(&mut self, words: &[Bytes]) -> Answer {
        self.expire(&words[1]);
        if !self.keys.contains_key(&words[1]) {
            return Err(NO_KEY.into());
        }
        if words[1] != words[2] {
            self.expire(&words[2]);
            let held = self.remove(&words[1]).unwrap();
            self.keys.insert(words[2].clone(), held);
            self.signal(&words[2]);
        }
        Ok(Reply::Simple("OK"))
    }

    fn copy(&mut self, words: &[Bytes]) -> Answer {
        let (db, options) = match &words[3..] {
            [word, db, rest @ ..] if is_word(word, "DB") => (number_of_db(db), rest),
            rest => (self.db, rest),
        };
        let replace = match options {
            [] => false,
            all if all.iter().all(|word| is_word(word, "REPLACE")) => true,
            _ => return Err(SYNTAX.into()),
        };
        if words[1] == words[2] && db == self.db {
            return Err(SAME.into());
        }
        self.expire(&words[1]);
        let held = self.keys.get(&words[1]).cloned();
        self.select(db);
        self.expire(&words[2]);
        let Some(held) = held else { return Ok(Reply::Int(0)) };
        if self.keys.contains_key(&words[2]) && !replace {
            return Ok(Reply::Int(0));
        }
        self.keys.insert(words[2].clone(), held);
        self.signal(&words[2]);
        Ok(Reply::Int(1))
    }

    fn move_to(&mut self, key: &Bytes, db: u8) -> Answer {
        let here = self.db;
        if db == here {
            return Err(SAME.into());
        }
        self.expire(key);
        let exists = self.keys.contains_key(key);
        self.select(db);
        self.expire(key);
        if !exists || self.keys.contains_key(key) {
            return Ok(Reply::Int(0));
        }
        self.select(here);
        let held = self.remove(key).unwrap();
        self.select(db);
        self.keys.insert(key.clone(), held);
        self.signal(key);
        Ok(Reply::Int(1))
    }

    fn flush(&mut self) {
        let keys: Vec<Bytes> = self.keys.keys().cloned().collect();
        keys.iter().for_each(|key| drop(self.remove(key)));
    }

    fn swap(&mut self, one: u8, other: u8) {
        if one == other {
            return;
        }
        // The watchers of a key whose time is over see no change.
        self.expire_due(|_| true);
        self.select(one);
        let of_one = std::mem::take(&mut self.keys);
        self.select(other);
        let of_other = std::mem::replace(&mut self.keys, of_one);
        self.select(one);
        self.keys = of_other;
        for (db, with) in [(one, other), (other, one)] {
            self.select(db);
            let both =
                self.keys.keys().chain(self.keys_of(with).into_iter().flatten().map(|x| x.0));
            let both: BTreeSet<Bytes> = both.cloned().collect();
            both.iter().for_each(|key| self.signal(key));
        }
    }

    /// DUMP, and RESTORE with REPLACE under another name.
    fn restore(&mut self, words: &[Bytes]) -> Reply {
        self.expire(&words[1]);
        let Some(mut held) = self.keys.get(&words[1]).cloned() else { return Reply::Null };
        if let Value::Stream(stream) = &mut held.value {
            stream.pack(self.block_entries);
        }
        self.expire(&words[2]);
        self.keys.insert(words[2].clone(), Held { expire_at: None, ..held });
        self.signal(&words[2]);
        Reply::Simple("OK")
    }

    fn pexpire(&mut self, words: &[Bytes]) -> Answer {
        if let Some(word) = words.get(3) {
            return Err(format!("ERR Unsupported option {}", lossy(word)));
        }
        let ms = integer_or(&words[2], NOT_AN_INTEGER)?;
        let at = ms.checked_add_unsigned(self.now);
        let at = at.ok_or("ERR invalid expire time in 'pexpire' command")?;
        self.expire(&words[1]);
        let at = u64::try_from(at).unwrap_or(0);
        let Some(held) = self.keys.get_mut(&words[1]) else { return Ok(Reply::Int(0)) };
        held.expire_at = Some(at);
        self.expire(&words[1]);
        Ok(Reply::Int(1))
    }

    fn set(&mut self, words: &[Bytes]) -> Answer {
        let expire_at = match &words[3..] {
            [] => None,
            [px, ms] if is_word(px, "PX") => {
                let ms = integer_or(ms, NOT_AN_INTEGER)?;
                let at = ms.checked_add_unsigned(self.now).filter(|_| ms > 0);
                let at = at.ok_or("ERR invalid expire time in 'set' command")?;
                Some(at.unsigned_abs())
            }
            _ => return Err(SYNTAX.into()),
        };
        self.expire(&words[1]);
        let held = Held { value: Value::String(words[2].clone()), expire_at };
        self.keys.insert(words[1].clone(), held);
        self.signal(&words[1]);
        Ok(Reply::Simple("OK"))
    }

    fn incr(&mut self, key: &Bytes) -> Answer {
        let number = match self.keys.get(key).map(|held| &held.value) {
            None => 0,
            Some(Value::String(string)) => integer(string).ok_or(NOT_AN_INTEGER)?,
            Some(Value::Stream(_)) => return Err(WRONG_TYPE.into()),
        };
        let sum = number.checked_add(1);
        let sum = sum.ok_or("ERR increment or decrement would overflow")?;
        let expire_at = self.keys.get(key).and_then(|held| held.expire_at);
        let value = Value::String(sum.to_string().into_bytes());
        self.keys.insert(key.clone(), Held { value, expire_at });
        self.signal(key);
        Ok(Reply::Int(sum.into()))
    }

    /// Forgets the idempotent IDs whose time is over.
    pub(crate) fn forget_idempotent_ids(&mut self, hand: &Hand) {
        for db in 0..DATABASES {
            self.select(db);
            self.forget_in_database(hand);
        }
    }

    fn forget_in_database(&mut self, hand: &Hand) {
        let now = self.now;
        let mine = self.keys.iter().filter(|(key, held)| {
            let remembers = |stream: &Stream| !stream.producers.is_empty();
            hand.holds(key) && matches!(&held.value, Value::Stream(s) if remembers(s))
        });
        let mine: Vec<Bytes> = mine.map(|(key, _)| key.clone()).collect();
        for key in mine {
            self.expire(&key);
            let Some(held) = self.keys.get_mut(&key) else { continue };
            let Value::Stream(stream) = &mut held.value else { continue };
            let kept_ms = stream.idmp_duration * 1000;
            for iids in stream.producers.values_mut() {
                let over = |(_, id): &&(Bytes, (u64, u64))| {
                    now.checked_sub(kept_ms).is_some_and(|end| id.0 <= end)
                };
                let n = iids.iter().take_while(over).count();
                iids.drain(..n);
            }
            stream.producers.retain(|_, iids| !iids.is_empty());
        }
    }
}
