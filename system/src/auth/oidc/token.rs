//! One token: what it claims, and whether a published key signed it (RFC 7515, RFC 7519, RFC 8725, RFC 9068).
//!
//! What can be refused without a key is refused without one: a token of another issuer or of another time never makes
//! anyone ask the provider for keys. The key is found by `kid` among the published ones, never taken from the token
//! (`jwk`, `jku`, `x5c` and `x5u` are not looked at), and must be for the algorithm that the token names.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Map, Value};

use super::issuer::Issuer;
use super::json::strict_map;
use super::key_set::{Algorithm, Key, KeySet, names};
use crate::ids::UserId;

/// The longest token that is looked at, in bytes: a company's may list its owner's groups.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The longest key id, in bytes: it goes into errors.
const KID_BYTES_MAX: usize = 256;

/// The last second of the year 9999: past it a time is no time, and arithmetic on it could overflow.
const TIME_MAX: i64 = 253_402_300_799;

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// For good.
    #[error("{0}")]
    Final(String),
    /// As far as these keys go: the token's may be newer.
    #[error("{0}")]
    UnknownKey(String),
}

fn refused<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Final(why.into()))
}

/// What a believed token says: whom it stands for, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) user: UserId,
    issued_at: i64,
    not_before: Option<i64>,
    expires_at: i64,
}

impl Claims {
    /// Whether they hold at `now`, in Unix seconds.
    pub(super) fn check_times(&self, issuer: &Issuer, now: i64) -> Result<(), Refused> {
        let leeway = issuer.leeway_seconds;
        if now > self.expires_at + leeway {
            return refused(format!("the token expired {} s ago", now - self.expires_at));
        }
        if now < self.issued_at - leeway {
            return refused(format!("the token is from {} s in the future", self.issued_at - now));
        }
        match self.not_before {
            Some(from) if now < from - leeway => {
                refused(format!("the token is not valid for another {} s", from - now))
            }
            _ => Ok(()),
        }
    }
}

/// Verifies `token` with `keys` as one of `issuer`'s at `now`, in Unix seconds.
pub(super) fn verify(issuer: &Issuer, keys: &KeySet, token: &str, now: i64) -> Result<Claims, Refused> {
    if token.len() > TOKEN_BYTES_MAX {
        return refused(format!("the token is {} bytes long; the limit is {TOKEN_BYTES_MAX}", token.len()));
    }
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        return refused(format!("the token has {} parts; a signed one has 3", parts.len()));
    };
    let signed = &token[..header.len() + 1 + claims.len()];
    let header = Header::read(issuer, &decode("header", header)?)?;
    let claims = read_claims(issuer, &decode("claims", claims)?)?;
    claims.check_times(issuer, now)?;
    let key = header.key(keys)?;
    if !key.verifies(header.algorithm, signed, signature) {
        return refused("the token's signature does not verify");
    }
    Ok(claims)
}

fn decode(what: &str, part: &str) -> Result<Map<String, Value>, Refused> {
    let decoded = BASE64URL.decode(part).map_err(|error| error.to_string());
    let read = decoded.and_then(|json| strict_map(&json));
    read.map_err(|why| Refused::Final(format!("the token is malformed: its {what}: {why}")))
}

struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Header {
    fn read(issuer: &Issuer, header: &Map<String, Value>) -> Result<Self, Refused> {
        // RFC 7515, 4.1.11: whoever does not understand what it names must refuse, and we understand no extension.
        if let Some(extensions) = header.get("crit") {
            return refused(format!("the token demands extensions: \"crit\" is {extensions}"));
        }
        let Some(alg) = header.get("alg").and_then(Value::as_str) else {
            return refused("the token does not say how it is signed: it has no \"alg\"");
        };
        let Some(algorithm) = Algorithm::parse(alg).filter(|known| issuer.algorithms.contains(known)) else {
            return refused(format!("the token is signed by {alg:?}, not by one of {}", names(&issuer.algorithms)));
        };
        let typ = match header.get("typ") {
            None => "jwt".to_owned(),
            // Media types have no case, and `application/` goes without saying (RFC 7515, 4.1.9).
            Some(Value::String(typ)) => {
                let typ = typ.to_ascii_lowercase();
                typ.strip_prefix("application/").unwrap_or(&typ).to_owned()
            }
            Some(other) => return refused(format!("the token is malformed: its \"typ\" is {other}")),
        };
        if !issuer.types.contains(&typ) {
            let taken = issuer.types.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            return refused(format!("the token is of type {typ:?}, not of one of {taken}"));
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= KID_BYTES_MAX => Some(kid.clone()),
            Some(_) => {
                return refused(format!("the token is malformed: its \"kid\" is no text of {KID_BYTES_MAX} bytes"));
            }
        };
        Ok(Self { algorithm, kid })
    }

    /// The key that must have signed it.
    fn key<'k>(&self, keys: &'k KeySet) -> Result<&'k Key, Refused> {
        let algorithm = self.algorithm;
        let Some(kid) = &self.kid else {
            // OpenID Connect Core, 10.1: a provider with several keys must name the one. Nothing is tried out: which key
            // made a signature is known before it is looked at.
            let mut fitting = keys.fitting(algorithm);
            return match (fitting.next(), fitting.count()) {
                (None, _) => {
                    Err(Refused::UnknownKey(format!("the token names no key, and no published one is for {algorithm}")))
                }
                (Some(only), 0) => Ok(only),
                (Some(_), more) => {
                    refused(format!("the token names no key, and {} published ones are for {algorithm}", more + 1))
                }
            };
        };
        let Some(key) = keys.find(kid) else {
            return Err(Refused::UnknownKey(format!("the token's key {kid:?} is not known")));
        };
        if !key.fits(algorithm) {
            return refused(format!("the token is signed by {algorithm}; its key {kid:?} is for {}", key.purpose()));
        }
        Ok(key)
    }
}

fn read_claims(issuer: &Issuer, claims: &Map<String, Value>) -> Result<Claims, Refused> {
    match claims.get("iss").and_then(Value::as_str) {
        Some(iss) if iss == issuer.issuer => {}
        Some(iss) => return refused(format!("the token is issued by {iss:?}, not by {:?}", issuer.issuer)),
        None => return refused("the token does not say who issued it: it has no \"iss\""),
    }
    let is_ours = |audience: &Value| audience.as_str().is_some_and(|audience| issuer.audiences.contains(audience));
    let meant = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().any(is_ours),
        Some(audience) => is_ours(audience),
        None => return refused("the token does not say whom it is meant for: it has no \"aud\""),
    };
    if !meant {
        let ours = issuer.audiences.iter().map(|ours| format!("{ours:?}")).collect::<Vec<_>>().join(" or ");
        return refused(format!("the token is meant for {}, not for {ours}", claims["aud"]));
    }
    let (Some(issued_at), Some(expires_at)) = (time(claims, "iat")?, time(claims, "exp")?) else {
        return refused("the token does not say for how long it is good: it needs \"iat\" and \"exp\"");
    };
    let not_before = time(claims, "nbf")?;
    let (lifetime, max) = (expires_at - issued_at, issuer.lifetime_seconds_max);
    if !(0..=max).contains(&lifetime) {
        return refused(format!("the token is good for {lifetime} s; allowed are 0 to {max}"));
    }
    let name = &issuer.user_claim;
    let user = match claims.get(name) {
        Some(Value::String(user)) => {
            // As it is: two of the provider's names must not become one operator.
            UserId::parse(user).map_err(|why| Refused::Final(format!("the token's {name:?} is no user id: it {why}")))
        }
        Some(_) => refused(format!("the token's {name:?} is no user id: it is no text")),
        None => refused(format!("the token does not say whom it stands for: it has no {name:?}")),
    };
    Ok(Claims { user: user?, issued_at, not_before, expires_at })
}

/// A time in whole Unix seconds.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Refused> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    match value.as_i64().filter(|time| (0..=TIME_MAX).contains(time)) {
        Some(time) => Ok(Some(time)),
        None => refused(format!("the token's {name:?} is {value}; it must be whole seconds since 1970")),
    }
}
