//! Attacks on tokens, one a row, each with its exact reason; and the life of a key set: rotation, outage, age, hammering.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{advance, sleep};

use super::key_set::KeySet;
use super::test_keys::{Signer, every_kind, hmac, kid};
use super::*;
use crate::capability::{BoxStream, InMemory, Network};
use crate::outside::{Roots, Url};

const ISSUER: &str = "https://id.example";
const NOW: i64 = 1_767_225_600;

/// Claims that nothing is wrong with.
fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "tenantry", "sub": "ana", "iat": NOW, "nbf": NOW, "exp": NOW + 600 })
}

fn header(algorithm: Algorithm) -> Value {
    json!({ "alg": algorithm.name(), "typ": "at+jwt", "kid": kid(Signer::of(algorithm)) })
}

/// `of` with one member set, or removed where `value` is null.
fn with(mut of: Value, name: &str, value: Value) -> Value {
    let members = of.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.into(), value);
    }
    of
}

fn sign(algorithm: Algorithm, header: &Value, claims: &Value) -> String {
    Signer::of(algorithm).sign(algorithm, &header.to_string(), &claims.to_string())
}

fn genuine(algorithm: Algorithm) -> String {
    sign(algorithm, &header(algorithm), &claims())
}

fn set(document: &str) -> KeySet {
    KeySet::parse(document.as_bytes()).unwrap().0
}

fn verify(token: &str) -> Result<Claims, Refused> {
    token::verify(&Issuer::new(ISSUER), &set(&every_kind()), token, NOW)
}

#[test]
fn a_token_of_every_algorithm_is_believed() {
    for algorithm in Algorithm::ALL {
        let token = genuine(algorithm);
        assert_eq!(verify(&token).unwrap_or_else(|why| panic!("{algorithm}: {why}")).user.as_str(), "ana");
        let only = |algorithms| Issuer { algorithms, ..Issuer::new(ISSUER) };
        let keys = set(&every_kind());
        assert!(token::verify(&only(vec![algorithm]), &keys, &token, NOW).is_ok(), "{algorithm}");
        let others = Algorithm::ALL.into_iter().filter(|other| *other != algorithm).collect();
        let refused = token::verify(&only(others), &keys, &token, NOW).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("the token is signed by \"{algorithm}\", not by one of ")), "{refused}");
    }
}

#[test]
fn any_changed_character_of_a_token_of_any_algorithm_is_refused() {
    for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
        let token = genuine(algorithm);
        for place in (0..token.len()).step_by(3) {
            let mut bytes = token.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verify(&changed).is_err(), "{algorithm}: a change at {place} was believed");
        }
    }
}

#[test]
fn each_attack_is_refused_for_its_reason() {
    use Algorithm::{ES256, ES384, EdDSA, PS256, RS256};
    let head = |name: &str, value: Value| sign(RS256, &with(header(RS256), name, value), &claims());
    let claim = |name: &str, value: Value| sign(ES256, &header(ES256), &with(claims(), name, value));
    let all = key_set::names(&Algorithm::ALL);
    let not_one_of = |alg: &str| format!("the token is signed by {alg:?}, not by one of {all}");
    let unverified = "the token's signature does not verify".to_owned();
    let forged = |algorithm: Algorithm, signer: Signer, kid: &str| {
        let header = with(header(algorithm), "kid", kid.into());
        signer.sign(algorithm, &header.to_string(), &claims().to_string())
    };
    let texts = |header: &str, claims: &str| Signer::Rsa.sign(RS256, header, claims);
    let (plain_header, plain_claims) = (header(RS256).to_string(), claims().to_string());
    let twice = |json: &str, member: &str| json.replacen('{', &format!("{{{member},"), 1);
    let cut = |token: String, by: usize| token[..token.len() - by].to_owned();
    let public = Signer::Rsa.jwk("rsa");
    let modulus = public["n"].as_str().unwrap().to_owned();
    let hs256 = json!({ "alg": "HS256", "typ": "at+jwt", "kid": "rsa" });
    let unsigned = |alg: &str| {
        let token = head("alg", alg.into());
        format!("{}.", token.rsplit_once('.').unwrap().0)
    };
    let attackers = Signer::RsaOther.jwk("attacker");
    let long = "x".repeat(300);
    let id = "the token's \"sub\" is no user id: it";
    let grammar = "allowed are lowercase ASCII letters, digits and '-'";
    let kid_wrong = "the token is malformed: its \"kid\" is no text of 256 bytes".to_owned();

    let attacks: Vec<(&str, String, String)> = vec![
        // The algorithm.
        ("alg none", unsigned("none"), not_one_of("none")),
        ("alg None", unsigned("None"), not_one_of("None")),
        ("alg empty", unsigned(""), not_one_of("")),
        ("no alg", head("alg", Value::Null), "the token does not say how it is signed: it has no \"alg\"".into()),
        (
            "alg a list",
            head("alg", json!(["RS256"])),
            "the token does not say how it is signed: it has no \"alg\"".into(),
        ),
        ("alg in lower case", head("alg", "rs256".into()), not_one_of("rs256")),
        ("the modulus as secret", hmac(modulus.as_bytes(), &hs256, &claims()), not_one_of("HS256")),
        ("the key's JSON as secret", hmac(public.to_string().as_bytes(), &hs256, &claims()), not_one_of("HS256")),
        ("HS256 without kid", hmac(b"", &with(hs256.clone(), "kid", Value::Null), &claims()), not_one_of("HS256")),
        ("ES512", head("alg", "ES512".into()), not_one_of("ES512")),
        ("ES256K", head("alg", "ES256K".into()), not_one_of("ES256K")),
        ("RS256 said to be RS384", head("alg", "RS384".into()), unverified.clone()),
        ("RS256 said to be PS256", head("alg", "PS256".into()), unverified.clone()),
        // The key.
        (
            "ES256 under an RSA kid",
            forged(ES256, Signer::P256, "rsa"),
            "the token is signed by ES256; its key \"rsa\" is for RS256, RS384, RS512, PS256, PS384, PS512".into(),
        ),
        (
            "RS256 under an EC kid",
            forged(RS256, Signer::Rsa, "p256"),
            "the token is signed by RS256; its key \"p256\" is for ES256".into(),
        ),
        (
            "ES384 under the other curve's kid",
            forged(ES384, Signer::P384, "p256"),
            "the token is signed by ES384; its key \"p256\" is for ES256".into(),
        ),
        (
            "EdDSA under an EC kid",
            forged(EdDSA, Signer::Ed25519, "p384"),
            "the token is signed by EdDSA; its key \"p384\" is for ES384".into(),
        ),
        ("another's RS256 key", forged(RS256, Signer::RsaOther, "rsa"), unverified.clone()),
        ("another's PS256 key", forged(PS256, Signer::RsaOther, "rsa"), unverified.clone()),
        (
            "a kid that is a path",
            head("kid", "../../dev/null".into()),
            "the token's key \"../../dev/null\" is not known".into(),
        ),
        ("an empty kid", head("kid", "".into()), "the token's key \"\" is not known".into()),
        ("a kid in other letters", head("kid", "RSA".into()), "the token's key \"RSA\" is not known".into()),
        ("a kid that is a number", head("kid", json!(7)), kid_wrong.clone()),
        ("a kid without end", head("kid", long.clone().into()), kid_wrong),
        (
            "its own key in jwk",
            Signer::RsaOther.sign(RS256, &with(header(RS256), "jwk", attackers.clone()).to_string(), &plain_claims),
            unverified.clone(),
        ),
        (
            "its own key in jwk, under its kid",
            Signer::RsaOther.sign(
                RS256,
                &with(with(header(RS256), "jwk", attackers), "kid", "attacker".into()).to_string(),
                &plain_claims,
            ),
            "the token's key \"attacker\" is not known".into(),
        ),
        (
            "its own set in jku",
            Signer::RsaOther.sign(
                RS256,
                &with(with(header(RS256), "jku", "https://evil.example/jwks".into()), "kid", "attacker".into())
                    .to_string(),
                &plain_claims,
            ),
            "the token's key \"attacker\" is not known".into(),
        ),
        (
            "its own certificate in x5c and x5u",
            Signer::RsaOther.sign(
                RS256,
                &with(with(header(RS256), "x5c", json!(["MIIB"])), "x5u", "https://evil.example/x".into()).to_string(),
                &plain_claims,
            ),
            unverified.clone(),
        ),
        // The header.
        ("crit", head("crit", json!(["exp"])), "the token demands extensions: \"crit\" is [\"exp\"]".into()),
        ("empty crit", head("crit", json!([])), "the token demands extensions: \"crit\" is []".into()),
        (
            "unencoded claims",
            sign(RS256, &with(with(header(RS256), "crit", json!(["b64"])), "b64", json!(false)), &claims()),
            "the token demands extensions: \"crit\" is [\"b64\"]".into(),
        ),
        (
            "a grant of our own",
            head("typ", "tenantry-grant+jwt".into()),
            "the token is of type \"tenantry-grant+jwt\", not of one of at+jwt, jwt".into(),
        ),
        (
            "a logout token",
            head("typ", "logout+jwt".into()),
            "the token is of type \"logout+jwt\", not of one of at+jwt, jwt".into(),
        ),
        ("typ a number", head("typ", json!(1)), "the token is malformed: its \"typ\" is 1".into()),
        (
            "alg twice",
            texts(&twice(&plain_header, "\"alg\":\"none\""), &plain_claims),
            "the token is malformed: its header: \"alg\" stands twice".into(),
        ),
        (
            "an unknown header twice",
            texts(&twice(&twice(&plain_header, "\"x\":1"), "\"x\":2"), &plain_claims),
            "the token is malformed: its header: \"x\" stands twice".into(),
        ),
        (
            "a header that is a list",
            texts("[]", &plain_claims),
            "the token is malformed: its header: not a JSON object".into(),
        ),
        (
            "two headers",
            texts(&format!("{plain_header}{{}}"), &plain_claims),
            "the token is malformed: its header: trailing characters".into(),
        ),
        // The claims.
        (
            "another issuer",
            claim("iss", "https://evil.example".into()),
            format!("the token is issued by \"https://evil.example\", not by {ISSUER:?}"),
        ),
        (
            "an issuer with a slash more",
            claim("iss", format!("{ISSUER}/").into()),
            format!("the token is issued by \"{ISSUER}/\", not by {ISSUER:?}"),
        ),
        ("issuers", claim("iss", json!([ISSUER])), "the token does not say who issued it: it has no \"iss\"".into()),
        ("no issuer", claim("iss", Value::Null), "the token does not say who issued it: it has no \"iss\"".into()),
        (
            "another audience",
            claim("aud", "billing".into()),
            "the token is meant for \"billing\", not for \"tenantry\"".into(),
        ),
        (
            "an id token of another client",
            claim("aud", json!(["web", "app"])),
            "the token is meant for [\"web\",\"app\"], not for \"tenantry\"".into(),
        ),
        ("no audience in a list", claim("aud", json!([])), "the token is meant for [], not for \"tenantry\"".into()),
        (
            "an audience inside another",
            claim("aud", "tenantry evil".into()),
            "the token is meant for \"tenantry evil\", not for \"tenantry\"".into(),
        ),
        (
            "no audience",
            claim("aud", Value::Null),
            "the token does not say whom it is meant for: it has no \"aud\"".into(),
        ),
        (
            "no exp",
            claim("exp", Value::Null),
            "the token does not say for how long it is good: it needs \"iat\" and \"exp\"".into(),
        ),
        (
            "no iat",
            claim("iat", Value::Null),
            "the token does not say for how long it is good: it needs \"iat\" and \"exp\"".into(),
        ),
        (
            "exp for ever",
            claim("exp", json!(u64::MAX)),
            "the token's \"exp\" is 18446744073709551615; it must be whole seconds since 1970".into(),
        ),
        (
            "exp that overflows",
            claim("exp", json!(i64::MAX)),
            "the token's \"exp\" is 9223372036854775807; it must be whole seconds since 1970".into(),
        ),
        (
            "exp as text",
            claim("exp", "9999999999".into()),
            "the token's \"exp\" is \"9999999999\"; it must be whole seconds since 1970".into(),
        ),
        (
            "exp with a fraction",
            claim("exp", json!(1767225660.5)),
            "the token's \"exp\" is 1767225660.5; it must be whole seconds since 1970".into(),
        ),
        (
            "an iat before all times",
            claim("iat", json!(i64::MIN)),
            "the token's \"iat\" is -9223372036854775808; it must be whole seconds since 1970".into(),
        ),
        (
            "a lifetime over a day",
            claim("exp", json!(NOW + 86_401)),
            "the token is good for 86401 s; allowed are 0 to 86400".into(),
        ),
        (
            "gone before it came",
            claim("exp", json!(NOW - 1)),
            "the token is good for -1 s; allowed are 0 to 86400".into(),
        ),
        (
            "expired",
            sign(ES256, &header(ES256), &with(with(claims(), "iat", json!(NOW - 100)), "exp", json!(NOW - 31))),
            "the token expired 31 s ago".into(),
        ),
        ("from the future", claim("iat", json!(NOW + 31)), "the token is from 31 s in the future".into()),
        ("not yet valid", claim("nbf", json!(NOW + 31)), "the token is not valid for another 31 s".into()),
        (
            "nbf as text",
            claim("nbf", "0".into()),
            "the token's \"nbf\" is \"0\"; it must be whole seconds since 1970".into(),
        ),
        (
            "exp twice",
            texts(&plain_header, &twice(&plain_claims, "\"exp\":9999999999")),
            "the token is malformed: its claims: \"exp\" stands twice".into(),
        ),
        (
            "sub twice, once escaped",
            texts(&plain_header, &twice(&plain_claims, r#""\u0073ub":"root""#)),
            "the token is malformed: its claims: \"sub\" stands twice".into(),
        ),
        // The operator's name.
        ("no sub", claim("sub", Value::Null), "the token does not say whom it stands for: it has no \"sub\"".into()),
        ("sub a list", claim("sub", json!(["ana"])), "the token's \"sub\" is no user id: it is no text".into()),
        ("a name in capitals", claim("sub", "Ana".into()), format!("{id} has 'A' as character 1; {grammar}")),
        ("a name with a space", claim("sub", "ana ".into()), format!("{id} has ' ' as character 4; {grammar}")),
        ("a name that looks alike", claim("sub", "аna".into()), format!("{id} has 'а' as character 1; {grammar}")),
        ("a name with a NUL", claim("sub", "ana\0".into()), format!("{id} has '\\0' as character 4; {grammar}")),
        ("an empty name", claim("sub", "".into()), format!("{id} must be 1 to 63 characters long, not 0")),
        // The token as a whole.
        ("no signature", format!("{}.", genuine(RS256).rsplit_once('.').unwrap().0), unverified.clone()),
        ("half a signature", cut(genuine(ES256), 40), unverified.clone()),
        ("a signature and more", format!("{}AAAA", genuine(EdDSA)), unverified.clone()),
        ("a padded signature", format!("{}==", genuine(EdDSA)), unverified.clone()),
        (
            "a signature of zeros",
            format!("{}.{}", genuine(ES256).rsplit_once('.').unwrap().0, "A".repeat(86)),
            unverified.clone(),
        ),
        (
            "another token's signature",
            {
                let (one, other) = (genuine(ES256), claim("sub", "bob".into()));
                format!("{}.{}", other.rsplit_once('.').unwrap().0, one.rsplit_once('.').unwrap().1)
            },
            unverified.clone(),
        ),
        ("two parts", "e30.e30".into(), "the token has 2 parts; a signed one has 3".into()),
        ("an encrypted token", "e30.e30.e30.e30.e30".into(), "the token has 5 parts; a signed one has 3".into()),
        ("nothing", String::new(), "the token has 1 parts; a signed one has 3".into()),
        (
            "no base64url",
            "e+0.e30.e30".into(),
            "the token is malformed: its header: Invalid symbol 43, offset 1.".into(),
        ),
        ("a huge token", "x".repeat(16_385), "the token is 16385 bytes long; the limit is 16384".into()),
    ];
    assert!(attacks.len() >= 60);
    for (attack, token, reason) in attacks {
        match verify(&token) {
            Ok(_) => panic!("{attack}: believed"),
            // Where in the JSON it stands depends on how the test writes it.
            Err(why) => assert_eq!(why.to_string().split(" at line ").next(), Some(&*reason), "{attack}"),
        }
    }
}

#[test]
fn what_a_provider_may_do_is_believed() {
    use Algorithm::{ES256, RS256};
    let (issuer, keys) = (Issuer::new(ISSUER), set(&every_kind()));
    let head = |name: &str, value: Value| sign(RS256, &with(header(RS256), name, value), &claims());
    let claim = |name: &str, value: Value| sign(ES256, &header(ES256), &with(claims(), name, value));
    let right = [
        head("typ", "JWT".into()),
        head("typ", Value::Null),
        head("typ", "application/AT+JWT".into()),
        head("x5t", "abc".into()),
        claim("aud", json!(["other", "tenantry"])),
        claim("nbf", Value::Null),
        claim("iat", json!(NOW + 30)),
        claim("exp", json!(NOW + 86_400)),
        claim("groups", json!({ "deep": [1.5, null] })),
    ];
    for (index, token) in right.iter().enumerate() {
        let verified = token::verify(&issuer, &keys, token, NOW);
        assert!(verified.is_ok(), "number {index}: {verified:?}");
    }
    let narrow = Issuer { types: BTreeSet::from(["at+jwt".into()]), ..issuer.clone() };
    for token in &right[..2] {
        let refused = token::verify(&narrow, &keys, token, NOW).unwrap_err().to_string();
        assert_eq!(refused, "the token is of type \"jwt\", not of one of at+jwt");
    }
    let by_email = Issuer { user_claim: "username".into(), ..issuer };
    let told = token::verify(&by_email, &keys, &claim("username", "bob".into()), NOW);
    assert_eq!(told.unwrap().user.as_str(), "bob");
    let told = token::verify(&by_email, &keys, &right[0], NOW).unwrap_err().to_string();
    assert_eq!(told, "the token does not say whom it stands for: it has no \"username\"");
}

#[test]
fn a_token_that_names_no_key_is_believed_only_if_exactly_one_could_have_signed_it() {
    use Algorithm::{EdDSA, RS256};
    let nameless = |algorithm| sign(algorithm, &with(header(algorithm), "kid", Value::Null), &claims());
    assert!(verify(&nameless(RS256)).is_ok());
    let two = json!({ "keys": [Signer::Rsa.jwk("one"), Signer::RsaOther.jwk("two")] }).to_string();
    let refused = token::verify(&Issuer::new(ISSUER), &set(&two), &nameless(RS256), NOW).unwrap_err();
    assert_eq!(refused, Refused::Final("the token names no key, and 2 published ones are for RS256".into()));
    let refused = token::verify(&Issuer::new(ISSUER), &set(&two), &nameless(EdDSA), NOW).unwrap_err();
    let why = "the token names no key, and no published one is for EdDSA";
    assert_eq!(refused, Refused::UnknownKey(why.into()));
}

#[test]
fn a_bad_key_is_left_out_with_its_name_and_the_others_serve() {
    let rsa = |name: &str, value: Value| with(Signer::Rsa.jwk("bad"), name, value);
    let p256 = |name: &str, value: Value| with(Signer::P256.jwk("bad"), name, value);
    let ed25519 = |name: &str, value: Value| with(Signer::Ed25519.jwk("bad"), name, value);
    let zeros = "A".repeat(43);
    let bad = [
        (Signer::RsaWeak.jwk("bad"), "key \"bad\" has 1024 bits; an RSA key needs 2048 to 4096"),
        (rsa("n", "AQ".repeat(500).into()), "key \"bad\" has 5993 bits; an RSA key needs 2048 to 4096"),
        (rsa("e", "AQ".into()), "key \"bad\" is no RSA key: modulus and exponent must be odd, the exponent 3 to 2^33"),
        (
            rsa("e", "AQAA".into()),
            "key \"bad\" is no RSA key: modulus and exponent must be odd, the exponent 3 to 2^33",
        ),
        (
            rsa("e", "AQAAAAAB".into()),
            "key \"bad\" is no RSA key: modulus and exponent must be odd, the exponent 3 to 2^33",
        ),
        (rsa("n", Value::Null), "key \"bad\" has no \"n\""),
        (rsa("n", "AQ==".into()), "key \"bad\" has a \"n\" that is no base64url: Invalid padding"),
        (
            rsa("alg", "HS256".into()),
            "key \"bad\" is for \"HS256\"; a key of its type can be for RS256, RS384, RS512, PS256, PS384, PS512",
        ),
        (
            rsa("alg", "RSA-OAEP".into()),
            "key \"bad\" is for \"RSA-OAEP\"; a key of its type can be for RS256, RS384, RS512, PS256, PS384, PS512",
        ),
        (rsa("use", "enc".into()), "key \"bad\" is for the use \"enc\", not for \"sig\""),
        (rsa("key_ops", json!(["sign"])), "key \"bad\" is for the operations [\"sign\"], not for \"verify\""),
        (rsa("d", "AQ".into()), "key \"bad\" is not only public: its secret stands in the set"),
        (
            json!({ "kty": "oct", "kid": "bad", "k": "AQ" }),
            "key \"bad\" is not only public: its secret stands in the set",
        ),
        (
            json!({ "kty": "oct", "kid": "bad" }),
            "key \"bad\" is of type \"oct\" and curve None; known are RSA, P-256, P-384 and Ed25519",
        ),
        (p256("alg", "ES384".into()), "key \"bad\" is for \"ES384\"; a key of its type can be for ES256"),
        (
            p256("crv", "P-521".into()),
            "key \"bad\" is of type \"EC\" and curve Some(\"P-521\"); known are RSA, P-256, P-384 and Ed25519",
        ),
        (p256("crv", "P-384".into()), "key \"bad\" has coordinates that are not 48 bytes long"),
        (p256("x", zeros.clone().into()), "key \"bad\" is no point of its curve"),
        (p256("x", "AQ".into()), "key \"bad\" has coordinates that are not 32 bytes long"),
        (ed25519("x", "AQ".into()), "key \"bad\" has an \"x\" that is not 32 bytes long"),
        (ed25519("x", zeros.into()), "key \"bad\" is no point of its curve, or a weak one"),
        (
            ed25519("crv", "X25519".into()),
            "key \"bad\" is of type \"OKP\" and curve Some(\"X25519\"); known are RSA, P-256, P-384 and Ed25519",
        ),
        (json!(7), "key number 2 can't be read: not a JSON object"),
        (json!({ "kid": 7 }), "key number 2 has the kid 7, which is no text"),
    ];
    for (jwk, expected) in bad {
        let document = json!({ "keys": [Signer::P256.jwk("p256"), jwk, Signer::Rsa.jwk("rsa")] }).to_string();
        let (keys, left_out) = KeySet::parse(document.as_bytes()).unwrap();
        assert_eq!(left_out, [expected]);
        assert_eq!(keys.len(), 2, "{expected}");
        for algorithm in [Algorithm::ES256, Algorithm::PS512] {
            assert!(token::verify(&Issuer::new(ISSUER), &keys, &genuine(algorithm), NOW).is_ok(), "{expected}");
        }
    }
    let twice = r#"{"keys": [{"kty": "OKP", "kty": "RSA", "kid": "x"}]}"#;
    let (_, left_out) = KeySet::parse(twice.as_bytes()).unwrap();
    assert_eq!(left_out, ["key number 1 can't be read: \"kty\" stands twice at line 1 column 27"]);
}

#[test]
fn of_two_keys_with_one_name_neither_is_used() {
    let (one, other) = (Signer::Rsa.jwk("rsa"), Signer::RsaOther.jwk("rsa"));
    let document = json!({ "keys": [one, Signer::P256.jwk("p256"), other] }).to_string();
    let (keys, left_out) = KeySet::parse(document.as_bytes()).unwrap();
    assert_eq!(left_out, ["key \"rsa\" stands there 2 times"]);
    let told = |algorithm| token::verify(&Issuer::new(ISSUER), &keys, &genuine(algorithm), NOW);
    assert_eq!(told(Algorithm::RS256).unwrap_err(), Refused::UnknownKey("the token's key \"rsa\" is not known".into()));
    assert!(told(Algorithm::ES256).is_ok());
}

#[test]
fn a_keys_own_alg_narrows_what_it_is_for() {
    let document = json!({ "keys": [with(Signer::Rsa.jwk("rsa"), "alg", "RS256".into())] }).to_string();
    let told = |algorithm| token::verify(&Issuer::new(ISSUER), &set(&document), &genuine(algorithm), NOW);
    assert!(told(Algorithm::RS256).is_ok());
    let refused = told(Algorithm::PS256).unwrap_err().to_string();
    assert_eq!(refused, "the token is signed by PS256; its key \"rsa\" is for RS256");
}

#[test]
fn what_is_no_key_set_is_refused_as_a_whole() {
    let many = json!({ "keys": vec![json!({}); 101] }).to_string();
    let huge = format!("{{\"keys\": []{}}}", " ".repeat(256 * 1024));
    let cases = [
        ("<html>", "it is no JWK Set (RFC 7517): expected value"),
        ("{}", "it is no JWK Set (RFC 7517): missing field `keys`"),
        (r#"{"keys": [], "keys": []}"#, "it is no JWK Set (RFC 7517): duplicate field `keys`"),
        (&many, "it has 101 keys; the limit is 100"),
        (&huge, "it is 262156 bytes long; the limit is 262144"),
    ];
    for (document, expected) in cases {
        let refused = KeySet::parse(document.as_bytes()).unwrap_err();
        assert!(refused.starts_with(expected), "{refused}");
    }
    assert_eq!(set(r#"{"keys": []}"#).len(), 0);
}

/// A provider at `idp:80` whose answer can be changed, and whose questions are counted.
struct Provider {
    world: World,
    network: Arc<InMemory>,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicU64>,
    /// How long an answer takes.
    slow: Arc<Mutex<Duration>>,
    _folder: tempfile::TempDir,
}

const FRESHNESS: Freshness = Freshness {
    refresh: Duration::from_secs(60),
    pause: Duration::from_secs(5),
    deadline: Duration::from_secs(3),
    stale_max: Duration::from_secs(600),
};

impl Provider {
    async fn new(document: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let network = Arc::new(InMemory::default());
        let world = World { network: network.clone(), ..World::real(folder.path()).unwrap() };
        let provider = Self {
            world,
            network,
            answer: Arc::default(),
            asked: Arc::default(),
            slow: Arc::default(),
            _folder: folder,
        };
        provider.publish(document);
        provider.up().await;
        provider
    }

    async fn up(&self) {
        let listener = self.network.bind("idp:80").await.unwrap();
        let (answer, asked, slow) = (self.answer.clone(), self.asked.clone(), self.slow.clone());
        tokio::spawn(async move {
            loop {
                let Ok(incoming) = listener.accept().await else { return };
                let stream = incoming.open().await.unwrap().stream;
                asked.fetch_add(1, Ordering::Relaxed);
                let (answer, slow) = (answer.lock().unwrap().clone(), *slow.lock().unwrap());
                tokio::spawn(respond(stream, answer, slow));
            }
        });
    }

    fn answer(&self, answer: impl Into<Vec<u8>>) {
        *self.answer.lock().unwrap() = answer.into();
    }

    fn publish(&self, document: &str) {
        self.answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{document}", document.len()));
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn start(&self) -> Authenticator {
        let url = Url::parse_any("http://idp/keys").unwrap();
        let trusted = TrustedIssuer::new(Issuer::new(ISSUER), Jwks::url(url, Roots::public(), FRESHNESS));
        Authenticator::start(trusted, &self.world).unwrap()
    }
}

/// Reads a request's head, then writes `answer` in two halves, `slow` apart.
async fn respond(mut stream: BoxStream, answer: Vec<u8>, slow: Duration) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    assert!(head.starts_with(b"GET /keys HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
    let (first, second) = answer.split_at(answer.len() / 2);
    // Whoever asked may have gone.
    let _ = stream.write_all(first).await;
    sleep(slow).await;
    let _ = stream.write_all(second).await;
}

fn one_key(signer: Signer, kid: &str) -> String {
    json!({ "keys": [signer.jwk(kid)] }).to_string()
}

const OK: &str = "ana";

/// What `token` comes to, in a word: whose it is, `refused` for good, or `unavailable`.
async fn told(authenticator: &Authenticator, token: &str) -> String {
    match authenticator.authenticate(token, NOW).await {
        Ok(Ok(user)) => user.to_string(),
        Ok(Err(why)) => format!("refused: {why}"),
        Err(why) => why.to_string(),
    }
}

const MOMENT_AGO: &str = "failed: the token can't be checked now, for want of the identity provider's keys: they were asked for a moment ago";
const UNANSWERED: &str =
    "failed: the token can't be checked now, for want of the identity provider's keys: it has not answered yet";
const UNREAD: &str = "failed: the token can't be checked now, for want of the identity provider's keys: they could not be read; auth's log says why";

#[tokio::test(start_paused = true)]
async fn a_new_key_is_believed_once_it_is_published_and_a_dropped_one_until_the_next_reading_at_most() {
    let provider = Provider::new(&one_key(Signer::Rsa, "rsa")).await;
    let authenticator = provider.start();
    let (old, new) = (genuine(Algorithm::RS256), genuine(Algorithm::ES256));
    assert_eq!(told(&authenticator, &old).await, OK);
    let both = json!({ "keys": [Signer::P256.jwk("p256"), Signer::Rsa.jwk("rsa")] }).to_string();
    advance(FRESHNESS.pause).await;
    provider.publish(&both);
    assert_eq!(told(&authenticator, &new).await, OK);
    assert_eq!(told(&authenticator, &old).await, OK);
    provider.publish(&one_key(Signer::P256, "p256"));
    // It was verified once, and is remembered: not for longer than its key is there.
    assert_eq!(told(&authenticator, &old).await, OK);
    sleep(FRESHNESS.refresh + FRESHNESS.pause).await;
    let refused = told(&authenticator, &old).await;
    assert_eq!(refused, "refused: the token's key \"rsa\" is not known");
    assert_eq!(told(&authenticator, &new).await, OK);
}

#[tokio::test(start_paused = true)]
async fn the_same_name_for_another_key_ends_what_the_first_one_verified() {
    let provider = Provider::new(&one_key(Signer::Rsa, "rsa")).await;
    let authenticator = provider.start();
    assert_eq!(told(&authenticator, &genuine(Algorithm::RS256)).await, OK);
    provider.publish(&one_key(Signer::RsaOther, "rsa"));
    sleep(FRESHNESS.refresh + FRESHNESS.deadline).await;
    let refused = told(&authenticator, &genuine(Algorithm::RS256)).await;
    assert_eq!(refused, "refused: the token's signature does not verify");
}

#[tokio::test(start_paused = true)]
async fn keys_serve_through_an_outage_for_as_long_as_stated_and_then_nobody_gets_in_until_it_is_over() {
    let provider = Provider::new(&every_kind()).await;
    let authenticator = provider.start();
    let token = genuine(Algorithm::RS256);
    assert_eq!(told(&authenticator, &token).await, OK);
    provider.answer("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    sleep(FRESHNESS.stale_max - Duration::from_secs(1)).await;
    assert_eq!(told(&authenticator, &token).await, OK);
    sleep(Duration::from_secs(2)).await;
    let closed = told(&authenticator, &token).await;
    assert!(closed.ends_with("keys: those of 601 s ago are too old to go by"), "{closed}");
    // Nor is anything refused for good.
    let unknown = sign(Algorithm::RS256, &with(header(Algorithm::RS256), "kid", "new".into()), &claims());
    assert_eq!(told(&authenticator, &unknown).await, closed);
    provider.publish(&every_kind());
    sleep(FRESHNESS.pause + FRESHNESS.deadline).await;
    assert_eq!(told(&authenticator, &token).await, OK);
}

#[tokio::test(start_paused = true)]
async fn forged_key_ids_are_no_hammer() {
    let provider = Provider::new(&every_kind()).await;
    let authenticator = provider.start();
    assert_eq!(told(&authenticator, &genuine(Algorithm::RS256)).await, OK);
    let begun = provider.asked();
    assert_eq!(begun, 1);
    let mut later = 0;
    for round in 0..600 {
        let header = with(header(Algorithm::EdDSA), "kid", format!("k-{round}").into());
        let answer = told(&authenticator, &sign(Algorithm::EdDSA, &header, &claims())).await;
        assert!(answer == MOMENT_AGO || answer == UNANSWERED || answer.starts_with("refused: "), "{answer}");
        later += u64::from(answer == MOMENT_AGO);
        // Nobody else notices.
        assert_eq!(told(&authenticator, &genuine(Algorithm::RS256)).await, OK);
        sleep(Duration::from_millis(100)).await;
    }
    // A minute and a little: at most one reading every five seconds, and most were told at once to come later.
    let asked = provider.asked() - begun;
    assert!((10..=13).contains(&asked), "{asked} readings");
    assert!(later > 500, "{later} were told at once");
}

#[tokio::test(start_paused = true)]
async fn many_who_wait_share_one_reading() {
    let provider = Provider::new(&every_kind()).await;
    let authenticator = Arc::new(provider.start());
    let token = genuine(Algorithm::ES384);
    let asking = (0..50).map(|_| {
        let (authenticator, token) = (authenticator.clone(), token.clone());
        tokio::spawn(async move { told(&authenticator, &token).await })
    });
    for answer in asking.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap(), OK);
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_may_not_answer_changes_nothing() {
    let provider = Provider::new(&every_kind()).await;
    let authenticator = provider.start();
    let token = genuine(Algorithm::RS256);
    assert_eq!(told(&authenticator, &token).await, OK);
    let evil = one_key(Signer::RsaOther, "evil");
    let forged = with(header(Algorithm::RS256), "kid", "evil".into());
    let forged = Signer::RsaOther.sign(Algorithm::RS256, &forged.to_string(), &claims().to_string());
    let length = evil.len();
    let answers: [Vec<u8>; 6] = [
        // A redirect, with keys in its own body besides.
        format!("HTTP/1.1 302 Found\r\nlocation: http://evil/keys\r\ncontent-length: {length}\r\n\r\n{evil}").into(),
        format!("HTTP/1.1 404 Not Found\r\ncontent-length: {length}\r\n\r\n{evil}").into(),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{evil}", length + 1).into(),
        format!("HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n{evil}{}", " ".repeat(300_000 - length)).into(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<html".to_vec(),
        b"\x16\x03\x01\x00\x00".to_vec(),
    ];
    for answer in answers {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        provider.answer(answer);
        sleep(FRESHNESS.refresh + FRESHNESS.deadline).await;
        let answer = told(&authenticator, &forged).await;
        assert!([MOMENT_AGO, UNREAD].contains(&&*answer), "{shown}: {answer}");
        assert_eq!(told(&authenticator, &token).await, OK, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_provider_slows_nobody_who_has_keys_and_one_that_drips_is_given_up() {
    let provider = Provider::new(&every_kind()).await;
    let authenticator = provider.start();
    let token = genuine(Algorithm::RS256);
    assert_eq!(told(&authenticator, &token).await, OK);
    *provider.slow.lock().unwrap() = Duration::from_secs(3600);
    for _ in 0..100 {
        let begun = tokio::time::Instant::now();
        assert_eq!(told(&authenticator, &token).await, OK);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        sleep(Duration::from_secs(1)).await;
    }
    // Every attempt was given up at its deadline, or there would have been one.
    assert!(provider.asked() > 5, "{} readings", provider.asked());
    // Who needs newer keys waits for half a second at most.
    let begun = tokio::time::Instant::now();
    let unknown = sign(Algorithm::RS256, &with(header(Algorithm::RS256), "kid", "new".into()), &claims());
    let later = told(&authenticator, &unknown).await;
    assert!(later.starts_with("failed: the token can't be checked now"), "{later}");
    assert!(begun.elapsed() <= Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_comes_up_after_auth_is_found() {
    let provider = Provider::new(&every_kind()).await;
    provider.answer("");
    let authenticator = provider.start();
    let token = genuine(Algorithm::EdDSA);
    assert_eq!(told(&authenticator, &token).await, UNREAD);
    provider.publish(&every_kind());
    sleep(FRESHNESS.pause + FRESHNESS.deadline).await;
    assert_eq!(told(&authenticator, &token).await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_file_is_followed_without_a_restart_and_half_a_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let write = |text: &str| {
        use std::io::Write as _;
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    write(&one_key(Signer::Rsa, "rsa"));
    let world = World::real(folder.path()).unwrap();
    let trusted = TrustedIssuer::new(Issuer::new(ISSUER), Jwks::file(&path, Freshness::FILE));
    let authenticator = Authenticator::start(trusted, &world).unwrap();
    let (old, new) = (genuine(Algorithm::RS256), genuine(Algorithm::ES256));
    assert_eq!(told(&authenticator, &old).await, OK);
    let next = one_key(Signer::P256, "p256");
    write(&next[..next.len() / 2]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(told(&authenticator, &old).await, OK);
    write(&next);
    // The new key's first token has it read at once, or as soon as it may be.
    assert_eq!(told(&authenticator, &new).await, OK);
    assert_eq!(told(&authenticator, &old).await, "refused: the token's key \"rsa\" is not known");
    std::fs::remove_file(&path).unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(told(&authenticator, &new).await, OK);
    sleep(Freshness::FILE.stale_max).await;
    assert!(told(&authenticator, &new).await.ends_with("are too old to go by"));
}

#[tokio::test]
async fn only_a_fresh_token_of_the_trusted_issuer_is_believed_known_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::real(folder.path()).unwrap();
    let start = |trusted| Authenticator::start(trusted, &world).unwrap();
    let mut provider = IdentityProvider::from_seed(ISSUER, &[1; 32]);
    let ana = UserId::parse("ana").unwrap();
    let token = provider.token(&ana, 1000, 60);
    let trusted = start(provider.trusted());
    let at = async |now| trusted.authenticate(&token, now).await.unwrap();
    assert_eq!(at(1000).await, Ok(ana.clone()));
    // Known by now, and still not believed for longer than it says.
    assert_eq!(at(1090).await, Ok(ana.clone()));
    assert_eq!(at(1091).await, Err(Denied::Unauthenticated("the token expired 31 s ago".into())));
    assert_eq!(at(969).await, Err(Denied::Unauthenticated("the token is from 31 s in the future".into())));
    let other = start(IdentityProvider::from_seed("https://evil.example", &[1; 32]).trusted());
    assert!(other.authenticate(&token, 1000).await.unwrap().unwrap_err().to_string().contains("issued by"));
    let foreign = start(IdentityProvider::from_seed(ISSUER, &[2; 32]).trusted());
    assert!(foreign.authenticate(&token, 1000).await.unwrap().unwrap_err().to_string().contains("key"));
    // A rotation: the former key's token holds until it is dropped.
    provider.rotate(&*world.entropy);
    assert_ne!(provider.token(&ana, 1000, 60), token);
    assert!(start(provider.trusted()).authenticate(&token, 1000).await.unwrap().is_ok());
    provider.drop_former(0);
    assert!(start(provider.trusted()).authenticate(&token, 1000).await.unwrap().is_err());
}

#[tokio::test]
async fn what_is_remembered_is_bounded_and_never_a_token_that_was_not_verified() {
    let folder = tempfile::tempdir().unwrap();
    let provider = IdentityProvider::from_seed(ISSUER, &[1; 32]);
    let trusted = Authenticator::start(provider.trusted(), &World::real(folder.path()).unwrap()).unwrap();
    let held = trusted.keys.current().await.unwrap();
    let remembered = || held.believed.lock().unwrap().len();
    let ana = UserId::parse("ana").unwrap();
    let mut token = provider.token(&ana, 1000, 60);
    token.pop();
    for _ in 0..2 {
        assert!(trusted.authenticate(&token, 1000).await.unwrap().is_err());
    }
    assert_eq!(remembered(), 0);
    for lifetime in 0..=BELIEVED_MAX as i64 {
        assert!(trusted.authenticate(&provider.token(&ana, 1000, lifetime), 1000).await.unwrap().is_ok());
    }
    assert_eq!(remembered(), 1);
}
