//! SUBSCRIBE and its kin.
//!
//! Order: a connection writes the reply to SUBSCRIBE straight into its output, and messages only
//! when it looks into its mailbox later; before the reply to UNSUBSCRIBE it empties the mailbox.
//! So every message stands between the two replies.

use super::client::{Around, Client};
use super::clients::Listener;
use crate::command::{Name, Out, Request};
use crate::error::CommandError;
use crate::pubsub::{ClientCounts, Kind, Sink};
use std::sync::Arc;

fn kind(name: Name) -> Kind {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is left is about channels")]
    match name {
        Name::PSubscribe | Name::PUnsubscribe => Kind::Pattern,
        Name::SSubscribe | Name::SUnsubscribe => Kind::Shard,
        _ => Kind::Channel,
    }
}

impl Client {
    /// SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE: a reply for each name.
    pub(super) fn subscribe(
        &mut self,
        name: Name,
        request: &Request<'_>,
        around: Around<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), CommandError> {
        let kind = kind(name);
        if around.in_exec && kind == Kind::Shard {
            let text = "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client";
            return Err(CommandError::Fixed(text));
        }
        let limits = around.server.clients.limits.clone();
        let sink: Arc<dyn Sink> = Arc::new(Listener { client: self.shared.clone(), limits });
        let pubsub = &around.server.core.pubsub;
        for channel in request.from(1) {
            self.special_mut().listens = pubsub.subscribe(kind, self.shared.id, &sink, channel);
            self.confirm(name, Some(channel), out);
        }
        Ok(())
    }

    /// UNSUBSCRIBE, PUNSUBSCRIBE, SUNSUBSCRIBE: a reply for each name; without names, for each
    /// subscription of the kind.
    pub(super) fn unsubscribe(
        &mut self,
        name: Name,
        request: &Request<'_>,
        around: Around<'_>,
        out: &mut Out<'_>,
    ) {
        let kind = kind(name);
        let pubsub = &around.server.core.pubsub;
        let all = pubsub.subscriptions(kind, self.shared.id);
        let names: Vec<&[u8]> = match request.len() {
            1 => all.iter().map(|name| &name[..]).collect(),
            _ => request.from(1).collect(),
        };
        if names.is_empty() {
            return self.confirm(name, None, out);
        }
        for channel in names {
            self.special_mut().listens = pubsub.unsubscribe(kind, self.shared.id, channel);
            let mail = self.shared.take_mail(u64::MAX);
            self.receive(mail, around.in_exec, out);
            self.confirm(name, Some(channel), out);
        }
    }

    fn confirm(&self, name: Name, channel: Option<&[u8]>, out: &mut Out<'_>) {
        out.push(3);
        out.bulk(name.full_name().as_bytes());
        match channel {
            Some(channel) => out.bulk(channel),
            None => out.null(),
        }
        out.count(self.special().listens.replied(kind(name)));
    }

    /// Ends all subscriptions: the connection ends.
    pub(super) fn unsubscribe_all(&mut self, around: Around<'_>) {
        if self.special().listens != ClientCounts::default() {
            around.server.core.pubsub.unsubscribe_all(self.shared.id);
            self.special_mut().listens = ClientCounts::default();
        }
    }
}
