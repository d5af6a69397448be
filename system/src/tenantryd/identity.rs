//! `[identity]`: whose tokens operators come with. A company's provider and the development identity are configured alike.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use tenantry_system::auth::TrustedIssuer;
use tenantry_system::auth::oidc::{Algorithm, Freshness, Issuer, Jwks};
use tenantry_system::capability::file_error;
use tenantry_system::outside::{Roots, Url};

/// An OpenID Connect provider, as it stands in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The `iss` of its tokens, to the letter.
    pub(crate) issuer: String,
    /// Where its keys are: an `https` URL (`http` on this machine only), or a file.
    pub(crate) jwks: String,
    /// What its tokens must be meant for (`aud`): one of these.
    #[serde(default = "audiences")]
    pub(crate) audiences: BTreeSet<String>,
    /// How its tokens may be signed.
    #[serde(default = "algorithms")]
    pub(crate) algorithms: Vec<Algorithm>,
    /// The `typ` of its tokens: one of these.
    #[serde(default = "types")]
    pub(crate) types: BTreeSet<String>,
    /// The claim that names the operator; it must be a user id as it is.
    #[serde(default = "user_claim")]
    pub(crate) user_claim: String,
    /// How far its clock may be from ours.
    #[serde(default = "leeway")]
    pub(crate) leeway_seconds: u32,
    /// The longest that its tokens may live.
    #[serde(default = "lifetime")]
    pub(crate) lifetime_max_seconds: u32,
    /// How often its keys are read anew [default: 300 for a URL, 1 for a file].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_seconds: Option<u32>,
    /// How long its keys serve while newer ones can't be had.
    #[serde(default = "stale_max")]
    pub(crate) stale_max_seconds: u32,
    /// PEM: whose word on its certificate is taken [default: Mozilla's authorities].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
}

fn rules() -> Issuer {
    Issuer::new("")
}

fn audiences() -> BTreeSet<String> {
    rules().audiences
}

fn algorithms() -> Vec<Algorithm> {
    rules().algorithms
}

fn types() -> BTreeSet<String> {
    rules().types
}

fn user_claim() -> String {
    rules().user_claim
}

fn leeway() -> u32 {
    u32::try_from(rules().leeway_seconds).expect("half a minute")
}

fn lifetime() -> u32 {
    u32::try_from(rules().lifetime_seconds_max).expect("a day")
}

fn stale_max() -> u32 {
    u32::try_from(Freshness::URL.stale_max.as_secs()).expect("an hour")
}

impl Identity {
    /// A provider whose keys are in the file `jwks`, with everything else as usual.
    pub(crate) fn in_file(issuer: &str, jwks: &Path) -> Self {
        Self {
            issuer: issuer.into(),
            jwks: jwks.display().to_string(),
            audiences: audiences(),
            algorithms: algorithms(),
            types: types(),
            user_claim: user_claim(),
            leeway_seconds: leeway(),
            lifetime_max_seconds: lifetime(),
            refresh_seconds: None,
            stale_max_seconds: stale_max(),
            ca_file: None,
        }
    }

    /// What auth needs to believe it. Files that it names must be there.
    pub(crate) fn trusted(&self) -> anyhow::Result<TrustedIssuer> {
        self.check().context("the table [identity]")
    }

    fn check(&self) -> anyhow::Result<TrustedIssuer> {
        if self.issuer.is_empty() {
            bail!("issuer is empty; write the \"iss\" of the provider's tokens");
        }
        for (name, is_empty, right) in [
            ("audiences", self.audiences.is_empty(), "write what the provider calls this system, such as \"tenantry\""),
            ("algorithms", self.algorithms.is_empty(), "write those that the provider signs with, such as \"RS256\""),
            ("types", self.types.is_empty(), "write \"at+jwt\", \"jwt\", or both"),
        ] {
            if is_empty {
                bail!("{name} is empty: no token could ever be believed; {right}");
            }
        }
        let known = types();
        if let Some(unknown) = self.types.iter().find(|found| !known.contains(&found.to_ascii_lowercase())) {
            bail!("types has {unknown:?}; known are \"at+jwt\" and \"jwt\"");
        }
        let issuer = Issuer {
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone(),
            algorithms: self.algorithms.clone(),
            types: self.types.iter().map(|found| found.to_ascii_lowercase()).collect(),
            user_claim: self.user_claim.clone(),
            leeway_seconds: self.leeway_seconds.into(),
            lifetime_seconds_max: self.lifetime_max_seconds.into(),
        };
        let is_url = self.jwks.contains("://");
        let usual = if is_url { Freshness::URL } else { Freshness::FILE };
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let refresh = self.refresh_seconds.map_or(usual.refresh, seconds);
        let freshness = Freshness { refresh, stale_max: seconds(self.stale_max_seconds), ..usual };
        let least = freshness.refresh.max(freshness.pause) + freshness.deadline;
        if refresh.is_zero() || freshness.stale_max <= least {
            let least = least.as_secs();
            bail!("refresh_seconds must be at least 1, and stale_max_seconds more than it and a reading take: {least}");
        }
        Ok(TrustedIssuer::new(issuer, self.jwks(is_url, freshness)?))
    }

    fn jwks(&self, is_url: bool, freshness: Freshness) -> anyhow::Result<Jwks> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| file_error(&error, "read", path));
        let in_words = |why: String| anyhow!(why);
        if is_url {
            let roots = match &self.ca_file {
                None => Roots::public(),
                Some(path) => {
                    let pem = read(path).context("ca_file")?;
                    Roots::from_pem(&pem).map_err(in_words).with_context(|| format!("ca_file {}", path.display()))?
                }
            };
            return Ok(Jwks::url(Url::parse(&self.jwks).map_err(in_words).context("jwks")?, roots, freshness));
        }
        if self.ca_file.is_some() {
            bail!("ca_file goes with a URL; the keys are in the file {}", self.jwks);
        }
        let path = Path::new(&self.jwks);
        read(path).context("jwks must be the https URL or the file of the provider's key set")?;
        Ok(Jwks::file(path, freshness))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the table with `lines` beside an issuer is refused with.
    fn refusal(lines: &str) -> String {
        let read = toml::from_str::<Identity>(&format!("issuer = \"https://id.example\"\n{lines}"));
        let trusted = read.map_err(anyhow::Error::from).and_then(|identity| identity.trusted().map(drop));
        format!("{:#}", trusted.expect_err(lines))
    }

    #[test]
    fn a_table_says_what_is_wrong_with_it_and_what_would_be_right() {
        let url = "jwks = \"https://id.example/jwks.json\"";
        assert!(toml::from_str::<Identity>(&format!("issuer = \"i\"\n{url}")).unwrap().trusted().is_ok());
        let cases = [
            ("jwks = \"http://id.example/jwks.json\"".to_owned(), "is not encrypted; write https://"),
            ("jwks = \"ftp://id.example/jwks\"".to_owned(), "is no URL for HTTP; write one such as https://"),
            ("jwks = \"https://me@id.example/\"".to_owned(), "names no host, or a user"),
            ("jwks = \"/nowhere/jwks.json\"".to_owned(), "failed to read /nowhere/jwks.json"),
            (format!("{url}\nca_file = \"/nowhere/ca.pem\""), "ca_file: failed to read /nowhere/ca.pem"),
            (format!("{url}\nca_file = \"/dev/null\""), "ca_file /dev/null: it has no certificate"),
            ("jwks = \"/dev/null\"\nca_file = \"/dev/null\"".to_owned(), "ca_file goes with a URL"),
            (format!("{url}\naudiences = []"), "audiences is empty"),
            (format!("{url}\nalgorithms = []"), "algorithms is empty"),
            (format!("{url}\nalgorithms = [\"HS256\"]"), "unknown variant `HS256`"),
            (format!("{url}\nalgorithms = [\"none\"]"), "unknown variant `none`"),
            (format!("{url}\ntypes = []"), "types is empty"),
            (format!("{url}\ntypes = [\"JOSE\"]"), "known are \"at+jwt\" and \"jwt\""),
            (format!("{url}\nrefresh_seconds = 0"), "refresh_seconds must be at least 1"),
            (format!("{url}\nstale_max_seconds = 303"), "more than it and a reading take: 303"),
            (format!("{url}\naudience = \"tenantry\""), "unknown field `audience`"),
            (String::new(), "missing field `jwks`"),
        ];
        for (lines, expected) in cases {
            let told = refusal(&lines);
            assert!(told.contains(expected), "{lines}: {told}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for host in ["127.0.0.1", "127.1.2.3:8080", "[::1]:80", "localhost"] {
            assert!(Url::parse(&format!("http://{host}/jwks")).is_ok(), "{host}");
        }
        for host in ["127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "[::2]", "0.0.0.0"] {
            assert!(Url::parse(&format!("http://{host}/jwks")).is_err(), "{host}");
        }
    }
}
