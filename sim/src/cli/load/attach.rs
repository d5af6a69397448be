//! A system that somebody else runs: where it is, and who sends the commands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tenantry_sim::load::http::Api;
use tenantry_sim::tenantry::cast::{Cast, Part};
use tenantry_system::ids::{TenantId, UserId};
use tenantry_system::outside::Url;

use super::System;

/// A tenant that nobody has a role on: commands that nobody may send are for this one.
const NOBODYS: &str = "load-nobodys";

/// Where it is, and who sends.
#[derive(clap::Args)]
pub(super) struct Attached {
    /// Load the system at this address, such as http://127.0.0.1:7070, in the place of one of its own. Its tenants are changed,
    /// for good: it is best one that nobody else uses.
    #[arg(long, help_heading = "A system that runs already")]
    url: Option<String>,
    /// A file with the token of the operator who sends all commands [default: the environment variable `TENANTRY_TOKEN`].
    #[arg(long, value_name = "FILE", requires = "url", help_heading = "A system that runs already")]
    token_file: Option<PathBuf>,
    /// A tenant to send commands for, on which the operator may do everything; may be given again.
    #[arg(long = "tenant", value_name = "TENANT", requires = "url", default_value = "acme", value_parser = TenantId::parse,
          help_heading = "A system that runs already")]
    tenants: Vec<TenantId>,
    /// The authorities, as PEM, whose word on the certificate of an https address is taken.
    #[arg(long, value_name = "FILE", requires = "url", help_heading = "A system that runs already")]
    ca: Option<PathBuf>,
    /// Load a system that is not on this machine.
    #[arg(long, requires = "url", help_heading = "A system that runs already")]
    allow_remote: bool,
}

impl Attached {
    /// Refuses an address that can't be used.
    pub(super) fn check(&self) -> Result<(), miette::Report> {
        let Some(text) = &self.url else { return Ok(()) };
        let url = Url::parse(text).map_err(|why| miette::miette!("failed to use --url: {why}"))?;
        if url.path() != "/" {
            return Err(miette::miette!(
                "failed to use --url: {text} must be a host and a port alone, such as http://127.0.0.1:7070"
            ));
        }
        if text.starts_with("https:") && self.ca.is_none() {
            return Err(miette::miette!("failed to use --url: https needs --ca, the authorities that vouch for it"));
        }
        let host = url.address().rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        if !is_here && !self.allow_remote {
            let help = "a load changes what it loads; --allow-remote says that it may";
            return Err(miette::miette!(help = help, "{host} is not this machine"));
        }
        Ok(())
    }

    /// The system, if one is named.
    pub(super) fn system(&self) -> Result<Option<System>, miette::Report> {
        let Some(text) = &self.url else { return Ok(None) };
        let url = Url::parse(text).map_err(|why| miette::miette!("failed to use --url: {why}"))?;
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|error| miette::miette!("failed to read {}: {error}", path.display()))
        };
        let ca = self.ca.as_ref().map(read).transpose()?;
        let token = match &self.token_file {
            Some(path) => read(path)?,
            None => std::env::var("TENANTRY_TOKEN").map_err(|_| {
                let help = "name a file with --token-file, or set TENANTRY_TOKEN; `tenantryd token` prints one";
                miette::miette!(help = help, "there is no token to send commands with")
            })?,
        };
        let token = token.trim().to_owned();
        let operator = subject(&token).ok_or_else(|| miette::miette!("the token is none that names its operator"))?;
        let nobodys = TenantId::parse(NOBODYS).map_err(|error| miette::miette!("{error}"))?;
        let tenants: BTreeSet<TenantId> = self.tenants.iter().cloned().collect();
        let parts: BTreeMap<_, _> = tenants.iter().map(|tenant| (tenant.clone(), Part::Admin)).collect();
        let cast = Cast {
            tenants: tenants.into_iter().chain([nobodys]).collect(),
            operators: vec![operator.clone()],
            roles: BTreeMap::from([(operator.clone(), parts)]),
        };
        let tokens = BTreeMap::from([(operator.as_str().to_owned(), token)]);
        let api = Api::new(url.address(), ca.as_deref(), tokens)
            .map_err(|why| miette::miette!("failed to use --ca: {why}"))?;
        let words = text.trim_end_matches('/').to_owned();
        Ok(Some(System { cluster: None, api: Arc::new(api), cast, words }))
    }
}

/// Whom a JWT is of. Nothing is verified: that is for whoever is sent it.
fn subject(token: &str) -> Option<UserId> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    UserId::parse(claims["sub"].as_str()?).ok()
}
