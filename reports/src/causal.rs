//! What happened in a run, as a space-time diagram needs it: messages between hosts, and what happened on each host.
//!
//! Runs have up to half a million of these, so in JSON each is one short row - an array whose places are named by
//! [`MESSAGE_COLUMNS`] and [`EVENT_COLUMNS`], which stand in the document too - and what repeats is a number into a table:
//! hosts, words, commands.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::time::VirtualUs;

/// The places of a row of `messages`.
pub const MESSAGE_COLUMNS: [&str; 7] = ["from", "to", "sent_at_us", "received_at_us", "lost", "carries", "commands"];

/// The places of a row of `events`.
pub const EVENT_COLUMNS: [&str; 5] = ["at_us", "host", "kind", "text", "commands"];

/// Messages and events of one run, in the order of their times.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CausalTrace {
    /// Hosts, by the numbers that rows use.
    pub hosts: Vec<String>,
    /// Kinds of events, what messages carry, why they were lost.
    pub words: Vec<String>,
    /// Ids of commands.
    pub commands: Vec<String>,
    /// The names of a message's places: [`MESSAGE_COLUMNS`].
    pub message_columns: Vec<String>,
    /// By the time they were sent.
    pub messages: Vec<Message>,
    /// The names of an event's places: [`EVENT_COLUMNS`].
    pub event_columns: Vec<String>,
    /// By their time.
    pub events: Vec<HostEvent>,
    /// Messages that say nothing but that their sender lives: counted, and not listed.
    #[serde(default)]
    pub heartbeats: u64,
    /// How many messages and events there were beyond those that are listed, which are the first ones.
    #[serde(default)]
    pub left_out: u64,
}

/// One message from host to host. Neither received nor lost, it was on its way when the run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "MessageRow", into = "MessageRow")]
pub struct Message {
    /// The sender's number among the hosts.
    pub from: u32,
    /// The receiver's.
    pub to: u32,
    /// When it was put on the wire.
    pub sent_at: VirtualUs,
    /// When all of it had been read at the other end.
    pub received_at: Option<VirtualUs>,
    /// Why it never was, among the words.
    pub lost: Option<u32>,
    /// What it carries, among the words: `publish`, `reply to publish`.
    pub carries: u32,
    /// The commands it is about, as far as that is known.
    pub commands: Vec<u32>,
}

/// Something that happened on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "EventRow", into = "EventRow")]
pub struct HostEvent {
    /// When.
    pub at: VirtualUs,
    /// Its number among the hosts.
    pub host: u32,
    /// What sort of event, among the words: `broker.published`.
    pub kind: u32,
    /// The rest, in words.
    pub text: String,
    /// The commands it is about, as far as that is known.
    pub commands: Vec<u32>,
}

type MessageRow = (u32, u32, u64, Option<u64>, Option<u32>, u32, Vec<u32>);
type EventRow = (u64, u32, u32, String, Vec<u32>);

impl From<MessageRow> for Message {
    fn from((from, to, sent_at, received_at, lost, carries, commands): MessageRow) -> Self {
        let (sent_at, received_at) = (VirtualUs(sent_at), received_at.map(VirtualUs));
        Self { from, to, sent_at, received_at, lost, carries, commands }
    }
}

impl From<Message> for MessageRow {
    fn from(row: Message) -> Self {
        let Message { from, to, sent_at, received_at, lost, carries, commands } = row;
        (from, to, sent_at.0, received_at.map(|at| at.0), lost, carries, commands)
    }
}

impl From<EventRow> for HostEvent {
    fn from((at, host, kind, text, commands): EventRow) -> Self {
        Self { at: VirtualUs(at), host, kind, text, commands }
    }
}

impl From<HostEvent> for EventRow {
    fn from(HostEvent { at, host, kind, text, commands }: HostEvent) -> Self {
        (at.0, host, kind, text, commands)
    }
}

impl JsonSchema for Message {
    fn schema_name() -> Cow<'static, str> {
        "Message".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        row("One message from host to host.", &MESSAGE_COLUMNS, MessageRow::json_schema(generator))
    }
}

impl JsonSchema for HostEvent {
    fn schema_name() -> Cow<'static, str> {
        "HostEvent".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        row("Something that happened on one host.", &EVENT_COLUMNS, EventRow::json_schema(generator))
    }
}

/// The schema of a row, which says what its places are.
fn row(what: &str, columns: &[&str], mut schema: Schema) -> Schema {
    schema.insert("description".into(), format!("{what} In this order: {}.", columns.join(", ")).into());
    schema
}

impl CausalTrace {
    /// The name of the host with this number.
    #[must_use]
    pub fn host(&self, number: u32) -> &str {
        named(&self.hosts, number)
    }

    /// The word with this number.
    #[must_use]
    pub fn word(&self, number: u32) -> &str {
        named(&self.words, number)
    }

    /// The id of the command with this number.
    #[must_use]
    pub fn command(&self, number: u32) -> &str {
        named(&self.commands, number)
    }
}

/// A record that someone else wrote may name what is not in its tables.
fn named(table: &[String], number: u32) -> &str {
    table.get(number as usize).map_or("?", String::as_str)
}

/// Makes a [`CausalTrace`] from what comes in any order.
#[derive(Debug, Default)]
pub struct Tracing {
    trace: CausalTrace,
    words: BTreeMap<String, u32>,
    commands: BTreeMap<String, u32>,
    hosts: BTreeMap<String, u32>,
}

/// A message, as [`Tracing`] takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent<'s> {
    /// The sender.
    pub from: &'s str,
    /// The receiver.
    pub to: &'s str,
    /// When it was put on the wire.
    pub sent_at: VirtualUs,
    /// When it had been read.
    pub received_at: Option<VirtualUs>,
    /// Why it never was.
    pub lost: Option<&'s str>,
    /// What it carries.
    pub carries: &'s str,
    /// Which commands it is about.
    pub commands: &'s [String],
}

impl Tracing {
    /// A trace without anything in it. `hosts` get their numbers in this order; others follow.
    pub fn new<'h>(hosts: impl IntoIterator<Item = &'h str>) -> Self {
        let mut tracing = Self::default();
        tracing.trace.message_columns = MESSAGE_COLUMNS.map(str::to_owned).to_vec();
        tracing.trace.event_columns = EVENT_COLUMNS.map(str::to_owned).to_vec();
        for host in hosts {
            intern(&mut tracing.hosts, &mut tracing.trace.hosts, host);
        }
        tracing
    }

    /// Adds a message.
    pub fn message(&mut self, sent: &Sent<'_>) {
        let Sent { from, to, sent_at, received_at, lost, carries, commands } = *sent;
        let (from, to) = (self.host(from), self.host(to));
        let (lost, carries) = (lost.map(|why| self.word(why)), self.word(carries));
        let commands = self.ids(commands);
        self.trace.messages.push(Message { from, to, sent_at, received_at, lost, carries, commands });
    }

    /// Adds an event.
    pub fn event(&mut self, at: VirtualUs, host: &str, kind: &str, text: String, commands: &[String]) {
        let (host, kind, commands) = (self.host(host), self.word(kind), self.ids(commands));
        self.trace.events.push(HostEvent { at, host, kind, text, commands });
    }

    /// Counts a heartbeat.
    pub fn heartbeat(&mut self) {
        self.trace.heartbeats += 1;
    }

    /// All of it in the order of its times, of which the first `most` messages and events are listed.
    #[must_use]
    pub fn finish(mut self, most: usize) -> CausalTrace {
        let trace = &mut self.trace;
        trace.messages.sort_by_key(|message| message.sent_at);
        trace.events.sort_by_key(|event| event.at);
        let all = trace.messages.len() + trace.events.len();
        if all > most {
            let mut times: Vec<VirtualUs> = trace.messages.iter().map(|message| message.sent_at).collect();
            times.extend(trace.events.iter().map(|event| event.at));
            times.sort_unstable();
            let end = times[most];
            trace.messages.retain(|message| message.sent_at < end);
            trace.events.retain(|event| event.at < end);
            trace.left_out = (all - trace.messages.len() - trace.events.len()) as u64;
        }
        self.trace
    }

    fn host(&mut self, name: &str) -> u32 {
        intern(&mut self.hosts, &mut self.trace.hosts, name)
    }

    fn word(&mut self, word: &str) -> u32 {
        intern(&mut self.words, &mut self.trace.words, word)
    }

    fn ids(&mut self, ids: &[String]) -> Vec<u32> {
        let ids: BTreeSet<&String> = ids.iter().collect();
        ids.into_iter().map(|id| intern(&mut self.commands, &mut self.trace.commands, id)).collect()
    }
}

fn intern(numbers: &mut BTreeMap<String, u32>, table: &mut Vec<String>, word: &str) -> u32 {
    if let Some(number) = numbers.get(word) {
        return *number;
    }
    let number = u32::try_from(table.len()).expect("tables are smaller than the traces that they are for");
    numbers.insert(word.to_owned(), number);
    table.push(word.to_owned());
    number
}
