//! The model's commands on keys of any type and on strings; the periodic task of producers.

use super::words::{NOT_AN_INTEGER, integer, integer_or, is_word, lossy};
use super::{Answer, Bytes, Held, Model, NO_KEY, SYNTAX, Stream, Value, WRONG_TYPE};
use crate::reply::Reply;
use crate::workload::Hand;

impl Model {
    pub(super) fn answer_any_type(&mut self, name: &str, words: &[Bytes]) -> Answer {
        for key in words[1..].iter().take(if name == "rename" || name == "copy" { 0 } else { 1 }) {
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
                let keys: Vec<Bytes> = self.keys.keys().cloned().collect();
                keys.iter().for_each(|key| drop(self.remove(key)));
                Ok(Reply::Simple("OK"))
            }
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
        let replace = match &words[3..] {
            [] => false,
            all if all.iter().all(|word| is_word(word, "REPLACE")) => true,
            _ => return Err(SYNTAX.into()),
        };
        if words[1] == words[2] {
            return Err("ERR source and destination objects are the same".into());
        }
        self.expire(&words[1]);
        self.expire(&words[2]);
        let Some(held) = self.keys.get(&words[1]).cloned() else { return Ok(Reply::Int(0)) };
        if self.keys.contains_key(&words[2]) && !replace {
            return Ok(Reply::Int(0));
        }
        self.keys.insert(words[2].clone(), held);
        self.signal(&words[2]);
        Ok(Reply::Int(1))
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
