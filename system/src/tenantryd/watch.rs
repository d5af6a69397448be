//! `tenantryd command watch`: a tenant's live stream in the terminal.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use hyper::Method;
use jiff::Timestamp;
use serde_json::Value;
use tenantry_system::ids::{MessageId, TenantId};
use tokio::time::{Instant, sleep, timeout};

use crate::client::{AGAIN_FOR, Access, Api, Refused};
use crate::command;

/// A stream that is silent for longer is broken: a comment comes every ten seconds.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Between two connections.
const PAUSE: Duration = Duration::from_secs(1);

/// The most that one block may have: more than any record.
const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// Follows until the one message has ended; without one for ever.
pub(crate) async fn run(
    access: &Access,
    tenant: &TenantId,
    message_id: Option<&MessageId>,
    after: Option<u64>,
) -> anyhow::Result<()> {
    let mut path = format!("/v1/tenants/{tenant}/events");
    // Of one message all there is, or one that has ended already would be waited for in vain.
    match (message_id, after) {
        (Some(id), after) => path += &format!("?message={id}&after={}", after.unwrap_or(0)),
        (None, Some(after)) => path += &format!("?after={after}"),
        (None, None) => {}
    }
    let status = message_id.map(|id| format!("/v1/commands/{id}?tenant_id={tenant}"));
    let colours = !access.json && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (mut last, mut give_up) = (None, None);
    loop {
        // Anew each time: the token may be a new one.
        let api = access.api()?;
        let mut watch = Watch { api: &api, status: status.as_deref(), json: access.json, colours, last: &mut last };
        match watch.follow(&path).await {
            Ok(Some(End::OfMessage)) => return Ok(()),
            Ok(Some(End::Refused(why))) => bail!(why),
            Ok(None) => give_up = None,
            Err(error) => {
                let passing = error.downcast_ref::<Refused>().map_or(last.is_some(), Refused::is_passing);
                let until = *give_up.get_or_insert_with(|| Instant::now() + AGAIN_FOR);
                if !passing || Instant::now() >= until {
                    return Err(error);
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// Why a stream is not followed any longer.
enum End {
    OfMessage,
    Refused(String),
}

struct Watch<'a> {
    api: &'a Api,
    /// Where the status of the one message is.
    status: Option<&'a str>,
    json: bool,
    colours: bool,
    /// The id to come back with.
    last: &'a mut Option<String>,
}

impl Watch<'_> {
    /// Follows one connection. None: it ended, and another may be made.
    async fn follow(&mut self, path: &str) -> anyhow::Result<Option<End>> {
        let open = self.api.open_after(Method::GET, path, "text/event-stream", Bytes::new(), self.last.as_deref());
        let mut answer = timeout(SILENCE_MAX, open).await.context("the API does not answer")??;
        let mut blocks = Blocks::default();
        loop {
            let read = timeout(SILENCE_MAX, answer.next()).await;
            // Broken off, ended or silent: in each case the next connection goes on where this one stopped.
            let Ok(Ok(Some(bytes))) = read else { return Ok(None) };
            blocks.take(&bytes)?;
            while let Some(block) = blocks.next() {
                if let Some(end) = self.block(block).await? {
                    return Ok(Some(end));
                }
            }
        }
    }

    async fn block(&mut self, Block { id, kind, data }: Block) -> anyhow::Result<Option<End>> {
        let begins = id.is_some() && data.is_none();
        if let Some(id) = id {
            *self.last = Some(id);
        }
        let Some(data) = data else {
            // Where nothing comes, it may have ended so long ago that the log has forgotten it.
            return if begins { Ok(None) } else { self.ended(true).await };
        };
        let told: Value = serde_json::from_str(&data).context("an event of the stream is no JSON")?;
        if kind.as_deref() == Some("end") {
            let [title, detail] = ["title", "detail"].map(|name| told[name].as_str().unwrap_or_default());
            let again = told["status"].as_u64().is_some_and(|status| status >= 500 || status == 401);
            return Ok((!again).then(|| End::Refused(format!("{title}: {detail}"))));
        }
        let line = if self.json { data } else { line(&told, self.colours) };
        writeln!(std::io::stdout(), "{line}")?;
        match kind.as_deref() {
            Some("decided" | "dead_lettered" | "given_up") => self.ended(false).await,
            _ => Ok(None),
        }
    }

    /// Whether the one message has ended: what was put aside may have come again since. If `show`, its status is, for then
    /// no event told of it.
    async fn ended(&self, show: bool) -> anyhow::Result<Option<End>> {
        let Some(path) = self.status else { return Ok(None) };
        let status = self.api.get(path).await?;
        if matches!(status["status"].as_str(), None | Some("pending")) {
            return Ok(None);
        }
        if show {
            let line = if self.json { status.to_string() } else { command::line(&status) };
            writeln!(std::io::stdout(), "{line}")?;
        }
        Ok(Some(End::OfMessage))
    }
}

/// One block of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    id: Option<String>,
    kind: Option<String>,
    data: Option<String>,
}

/// Bytes that become blocks (WHATWG HTML, 9.2.6), as far as our own server writes them: lines end with LF.
#[derive(Default)]
struct Blocks {
    bytes: Vec<u8>,
}

impl Blocks {
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.bytes.extend_from_slice(bytes);
        let whole = self.bytes.windows(2).any(|two| two == b"\n\n");
        if !whole && self.bytes.len() > BLOCK_BYTES_MAX {
            return Err(anyhow!("an event of the stream is over {BLOCK_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Block> {
        let end = self.bytes.windows(2).position(|two| two == b"\n\n")?;
        let text = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
        self.bytes.drain(..end + 2);
        let mut block = Block::default();
        for line in text.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match name {
                "id" => block.id = Some(value),
                "event" => block.kind = Some(value),
                "data" => block.data = Some(value),
                _ => {}
            }
        }
        Some(block)
    }
}

/// One event in one line: when, what, which command, whose, and in words.
fn line(told: &Value, colours: bool) -> String {
    let text = |name: &str| told[name].as_str().unwrap_or_default();
    let at = told["at_unix_ms"].as_i64().and_then(|at| Timestamp::from_millisecond(at).ok());
    let at = at.map_or_else(|| "-".into(), |at| format!("{at:.3}"));
    let what = match (text("outcome"), text("code")) {
        ("", "") => text("kind").to_owned(),
        (outcome, "") => outcome.to_owned(),
        (_, code) => format!("refused {code}"),
    };
    let colour = match (text("kind"), text("outcome")) {
        ("decided", "applied") => "32",
        ("decided" | "refused" | "dead_lettered" | "given_up", _) => "31",
        ("came_back" | "paused", _) => "33",
        _ => "",
    };
    let padded = format!("{what:<22}");
    let padded = if colours && !colour.is_empty() { format!("\u{1b}[{colour}m{padded}\u{1b}[0m") } else { padded };
    let user = if text("user_id").is_empty() { String::new() } else { format!(" by {}", text("user_id")) };
    let parts = format!("{at}  {padded} {} {}{user}", text("message_id"), text("action"));
    // What is told was typed by anyone: a terminal must not obey it.
    let detail: String = text("detail").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if detail.is_empty() { parts.trim_end().to_owned() } else { format!("{}  {detail}", parts.trim_end()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_come_whole_however_the_bytes_come() {
        let text = "retry: 1000\nid: 7\n: here you are\n\nid: 9\nevent: published\ndata: {\"a\": 1}\n\n:\n\n";
        let (mut blocks, mut read) = (Blocks::default(), Vec::new());
        for byte in text.bytes() {
            blocks.take(&[byte]).unwrap();
            read.extend(blocks.next());
        }
        let some = |text: &str| Some(text.to_owned());
        let event = Block { id: some("9"), kind: some("published"), data: some("{\"a\": 1}") };
        assert_eq!(read, [Block { id: some("7"), ..Block::default() }, event, Block::default()]);
    }

    #[test]
    fn a_line_says_when_what_whose_and_obeys_nobody() {
        let told = json!({
            "at_unix_ms": 1500, "kind": "decided", "outcome": "applied", "message_id": "m-1", "action": "issue_credit",
            "user_id": "ana", "detail": "ok\u{1b}[2J",
        });
        let plain = "1970-01-01T00:00:01.500Z  applied                m-1 issue_credit by ana  ok [2J";
        assert_eq!(line(&told, false), plain);
        assert!(line(&told, true).contains("\u{1b}[32mapplied"));
    }
}
