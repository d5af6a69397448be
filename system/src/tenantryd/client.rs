//! The API of a running system, for the commands that ask it: where it is, who asks, and how an answer is shown.
//!
//! What `tenantryd` does here any client can do: it is the same HTTP, with the same token, under the same policies.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request};
use serde_json::Value;
use tenantry_system::capability::{SystemClock, Tcp, file_error};
use tenantry_system::outside::{Answer, Client, Roots, Url};
use tokio::time::{Instant, sleep, timeout};

use crate::development;

/// An answer begins within this time; longer than the longest wait for an outcome.
const DEADLINE: Duration = Duration::from_secs(40);

/// The most that is read of an answer: a page of records with their proofs.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// "Not now" is taken for an answer after this time.
pub(crate) const AGAIN_FOR: Duration = Duration::from_secs(60);

/// Between two tries: as long as the server says, within these.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Where the API is, and who asks.
#[derive(clap::Args, Debug)]
pub(crate) struct Access {
    /// Where the API is; https if it is not on this machine.
    #[arg(long, env = "TENANTRY_URL", default_value = "http://127.0.0.1:7070", help_heading = "API")]
    url: String,
    /// A file with the operator's token. Without it the token is that of the environment variable `TENANTRY_TOKEN`, or else
    /// one of the development identity in the data folder.
    #[arg(long, help_heading = "API")]
    token_file: Option<PathBuf>,
    /// The authorities, as PEM, whose word on the server's certificate is taken, in the place of the public ones.
    #[arg(long, env = "TENANTRY_CA", help_heading = "API")]
    ca: Option<PathBuf>,
    /// The data folder of the development identity.
    #[arg(long, default_value = "./data", env = "TENANTRY_DATA", help_heading = "API")]
    data: PathBuf,
    /// Print the answer as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The API, asked by one operator.
pub(crate) struct Api {
    client: Client,
    token: String,
}

impl Access {
    /// The API that these name.
    pub(crate) fn api(&self) -> anyhow::Result<Api> {
        let in_words = |why: String| anyhow!(why);
        let url = Url::parse(&self.url).map_err(in_words).context("failed to use --url")?;
        if url.path() != "/" {
            bail!("failed to use --url: {url} must be a host and a port alone, such as http://127.0.0.1:7070");
        }
        let roots = match &self.ca {
            None => Roots::public(),
            Some(path) => {
                let pem = std::fs::read(path).map_err(|error| file_error(&error, "read", path))?;
                Roots::from_pem(&pem).map_err(in_words).with_context(|| format!("failed to use {}", path.display()))?
            }
        };
        let client = Client::new(Arc::new(Tcp), Arc::new(SystemClock), url, &roots).map_err(in_words)?;
        Ok(Api { client, token: self.token()? })
    }

    fn token(&self) -> anyhow::Result<String> {
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path).map_err(|error| file_error(&error, "read", path))?;
            return Ok(text.trim().to_owned());
        }
        match std::env::var("TENANTRY_TOKEN") {
            Ok(token) => Ok(token.trim().to_owned()),
            Err(_) => development::existing_token(&self.data, development::OPERATOR)
                .context("no token: set TENANTRY_TOKEN, or name a file with --token-file"),
        }
    }
}

impl Api {
    /// GETs `path`.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// POSTs `body` to `path`.
    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Value> {
        let answered = async {
            let answer = self.open(method, path, "application/json", body).await?;
            answer.whole(ANSWER_BYTES_MAX).await.map_err(|why| anyhow!(why))
        };
        let body = timeout(DEADLINE, answered).await.map_err(|_| {
            anyhow!(
                "no answer of {} within {} s: what was asked may have been done",
                self.client.url(),
                DEADLINE.as_secs()
            )
        })??;
        serde_json::from_slice(&body).with_context(|| format!("the answer of {} is no JSON", self.client.url()))
    }

    /// PUTs `body` to `path`.
    pub(crate) async fn put(&self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Value> {
        self.ask(Method::PUT, path, body.into()).await
    }

    /// POSTs `body` to `path`, again and again while the answer is "not now" or "perhaps": for what may be done twice and is
    /// one. Waits as long as it is told to, for a minute in all.
    pub(crate) async fn post_until_answered(&self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Value> {
        let (body, give_up) = (body.into(), Instant::now() + AGAIN_FOR);
        loop {
            let error = match self.post(path, body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let passing = error.downcast_ref::<Refused>().filter(|refused| refused.is_passing());
            let Some(pause) = passing.map(Refused::pause).filter(|pause| Instant::now() + *pause < give_up) else {
                return Err(error);
            };
            sleep(pause).await;
        }
    }

    /// Asks, and leaves what is answered to be read as it comes. A refusal is a [`Refused`].
    pub(crate) async fn open(&self, method: Method, path: &str, accept: &str, body: Bytes) -> anyhow::Result<Answer> {
        self.open_after(method, path, accept, body, None).await
    }

    /// The same, after the event of a stream whose id is `last`.
    pub(crate) async fn open_after(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Bytes,
        last: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder();
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let request = request
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .context("failed to ask: is the token one line of text?")?;
        let failed = || format!("failed to ask {}", self.client.url());
        let answer = self.client.send(request).await.map_err(|why| anyhow!(why)).with_context(failed)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let retry_after =
            answer.header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let body = answer.whole(ANSWER_BYTES_MAX).await.map_err(|why| anyhow!(why)).with_context(failed)?;
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let [title, detail, field] = ["title", "detail", "field"].map(|name| problem[name].as_str());
        let words = match (title, detail, field) {
            (Some(title), Some(detail), Some(field)) => format!("{title} ({status}): {field}: {detail}"),
            (Some(title), Some(detail), None) => format!("{title} ({status}): {detail}"),
            _ => format!("{} answered {status}", self.client.url()),
        };
        Err(Refused { status: status.as_u16(), retry_after, words }.into())
    }
}

/// A refusal, in the words of the API.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Refused {
    status: u16,
    retry_after: Option<Duration>,
    words: String,
}

impl Refused {
    /// Whether the same request may be answered otherwise a little later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.status, 429 | 502..=504)
    }

    /// How long to wait before it.
    pub(crate) fn pause(&self) -> Duration {
        self.retry_after.unwrap_or(PAUSE_MIN).clamp(PAUSE_MIN, PAUSE_MAX)
    }
}

/// Prints one JSON document.
pub(crate) fn print_json(value: &Value) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(value)?) {
        // A reader that closed the pipe has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
