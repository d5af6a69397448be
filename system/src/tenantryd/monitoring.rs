//! What a process tells of itself, and at which address: `[monitor]` of the configuration.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use tenantry_system::capability::{Clock, Network, OsEntropy, SystemClock, Tcp};
use tenantry_system::monitor::{self, Collector, Metrics, Monitor, SpanSink, Tracer};
use tenantry_system::outside::Url;
use tenantry_system::rights::Role;
use tokio_util::sync::CancellationToken;

/// `[monitor]`: where metrics and health are asked for, and where traces go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Monitoring {
    /// Where spans are sent by OTLP over HTTP, such as `http://127.0.0.1:4318`; without it they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) otlp: Option<String>,
    /// The share of traces that is sampled, of those that begin here: 0 to 1.
    pub(crate) sampled: f64,
    /// Where each role answers for itself; `up` does at the producer's.
    pub(crate) listen: Listen,
}

/// An address on loopback for each role: what is told there is not encrypted, and not for everybody.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listen {
    producer: String,
    broker: String,
    auth: String,
    ledger: String,
    audit: String,
    consumer: String,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self { otlp: None, sampled: 0.1, listen: Listen::default() }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let at = |port: u16| format!("127.0.0.1:{port}");
        Self {
            producer: at(9464),
            broker: at(9465),
            auth: at(9466),
            ledger: at(9467),
            audit: at(9468),
            consumer: at(9469),
        }
    }
}

impl Listen {
    fn of(&self, role: Role) -> &str {
        match role {
            Role::Producer => &self.producer,
            Role::Broker => &self.broker,
            Role::Auth => &self.auth,
            Role::Ledger => &self.ledger,
            Role::Audit => &self.audit,
            Role::Consumer => &self.consumer,
        }
    }
}

impl Monitoring {
    /// Says what can't be used.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if !(0.0..=1.0).contains(&self.sampled) {
            bail!("monitor.sampled is {}; it must be from 0 to 1", self.sampled);
        }
        for role in Role::ALL {
            on_loopback(self.listen.of(role)).with_context(|| format!("failed to use monitor.listen.{role}"))?;
        }
        self.collector().map(drop)
    }

    /// Where the collector is.
    fn collector(&self) -> anyhow::Result<Option<Url>> {
        let Some(url) = &self.otlp else { return Ok(None) };
        let url = Collector::url(url).map_err(|why| anyhow!("failed to use monitor.otlp: {why}"))?;
        on_loopback(url.address())
            .context("failed to use monitor.otlp; a collector on this machine can pass traces on")?;
        Ok(Some(url))
    }

    /// The monitor of a process that calls itself `service` in traces.
    pub(crate) fn monitor(&self, service: &str) -> anyhow::Result<Monitor> {
        let (metrics, clock) = (Arc::<Metrics>::default(), Arc::new(SystemClock));
        metrics.start.set((), clock.now().as_millisecond() as f64 / 1000.0);
        let sink = self
            .collector()?
            .map(|url| -> Arc<dyn SpanSink> { Collector::start(Arc::new(Tcp), url, service.into(), metrics.clone()) });
        let tracer = Tracer::new(clock, Arc::new(OsEntropy), self.sampled, sink);
        Ok(Monitor::new(metrics, tracer))
    }

    /// Answers for `monitor` at the address of `role` for as long as the process runs: at a stop, until the end.
    pub(crate) async fn serve(&self, role: Role, monitor: &Monitor) -> anyhow::Result<()> {
        let address = self.listen.of(role);
        let listener = Tcp.bind(address).await.context("choose another address under [monitor.listen]")?;
        tracing::info!(address = listener.local_address(), "metrics and health are told here");
        tokio::spawn(monitor::serve(listener, monitor.clone(), CancellationToken::new()));
        Ok(())
    }
}

/// Refuses an address that others than this machine could reach, encrypted channels or not.
fn on_loopback(address: &str) -> anyhow::Result<()> {
    let parsed = address.parse::<SocketAddr>();
    let parsed = parsed.with_context(|| format!("{address:?} is no address; write one such as 127.0.0.1:9464"))?;
    if !parsed.ip().is_loopback() {
        bail!("{address} is not a loopback address, and what is told there is neither encrypted nor for everybody");
    }
    Ok(())
}
