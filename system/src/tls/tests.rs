//! Every refusal, in the words each side has for it; and what renewal must not lose.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::call::CallError;
use crate::capability::{Clock, InMemory, OsEntropy};
use crate::rpc::{self, Client, SILENCE_MAX, Service};

const BEGIN_SECONDS: i64 = 1_767_225_600;
const DAY: Duration = Duration::from_secs(24 * 3600);
const SECOND: Duration = Duration::from_secs(1);

/// A clock that a test sets.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(BEGIN_SECONDS + self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// An authority, a clock and a network.
struct Lab {
    authority: CertificateAuthority,
    ca: String,
    clock: Arc<Hand>,
    network: Arc<InMemory>,
}

impl Lab {
    fn new() -> Self {
        let clock = Arc::new(Hand(AtomicI64::new(0)));
        let (authority, kept) = CertificateAuthority::new(clock.now(), 365 * DAY, &OsEntropy).unwrap();
        Self { authority, ca: kept.certificate, clock, network: Arc::default() }
    }

    /// Another authority, in the same world.
    fn another(&self) -> Self {
        Self { clock: self.clock.clone(), network: self.network.clone(), ..Self::new() }
    }

    fn pem(&self, role: Role, lifetime: Duration) -> Pem {
        let issued = self.authority.issue(role, &[], self.clock.now(), lifetime, &OsEntropy).unwrap();
        Pem { ca: self.ca.clone(), certificate: issued.certificate, key: issued.key }
    }

    fn credentials(&self, role: Role, pem: &Pem) -> Result<Credentials, TlsError> {
        Credentials::of_role(role, pem, self.clock.clone())
    }

    fn with(&self, role: Role, pem: &Pem) -> Arc<Tls> {
        Arc::new(Tls::new(self.network.clone(), self.credentials(role, pem).unwrap()))
    }

    /// The network of `role`, certified for a day.
    fn tls(&self, role: Role) -> Arc<Tls> {
        self.with(role, &self.pem(role, DAY))
    }

    fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_secs() as i64, Ordering::Relaxed);
    }
}

/// What both sides say when `client` wants `wanted` of whoever listens at "there".
async fn met(
    listener: &dyn Listener,
    client: &dyn Network,
    wanted: Role,
) -> (Result<Channel, String>, Result<Channel, String>) {
    let accepting = async {
        let incoming = listener.accept().await.unwrap();
        incoming.open().await.map_err(|error| error.to_string())
    };
    let connecting = async { client.connect("there", wanted).await.map_err(|error| error.to_string()) };
    tokio::join!(accepting, connecting)
}

/// Why nothing can be read from a channel.
async fn unread(channel: Result<Channel, String>) -> String {
    let mut byte = [0];
    channel.unwrap().stream.read_exact(&mut byte).await.unwrap_err().to_string()
}

fn why(channel: Result<Channel, String>) -> String {
    channel.err().expect("a refusal")
}

#[tokio::test(start_paused = true)]
async fn both_sides_learn_the_others_role_and_nobody_between_them_a_word() {
    let lab = Lab::new();
    let (broker, consumer) = (lab.tls(Role::Broker), lab.tls(Role::Consumer));
    let listener = broker.bind("there").await.unwrap();
    let (served, called) = met(&*listener, &*consumer, Role::Broker).await;
    let (mut served, mut called) = (served.unwrap(), called.unwrap());
    assert_eq!((served.role, called.role), (Some(Role::Consumer), Some(Role::Broker)));
    called.stream.write_all(b"hello").await.unwrap();
    called.stream.flush().await.unwrap();
    let mut said = [0; 5];
    served.stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"hello");
}

#[tokio::test(start_paused = true)]
async fn a_plain_client_is_refused_and_so_is_a_plain_server() {
    let lab = Lab::new();
    let listener = lab.tls(Role::Broker).bind("there").await.unwrap();
    let mut plain = lab.network.connect("there", Role::Broker).await.unwrap();
    plain.stream.write_all(&[0, 0, 0, 9, 0, 0, 2, 0, b'b', b'r', b'o', b'k', b'e']).await.unwrap();
    let refused = listener.accept().await.unwrap().open().await;
    assert_eq!(refused.err().unwrap().to_string(), "TLS: the other side does not speak TLS");

    let plain = lab.network.bind("there").await.unwrap();
    let serving = async {
        let mut channel = plain.accept().await.unwrap().open().await.unwrap();
        channel.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
        channel
    };
    let consumer = lab.tls(Role::Consumer);
    let (_held, refused) = tokio::join!(serving, consumer.connect("there", Role::Broker));
    assert_eq!(refused.err().unwrap().to_string(), "TLS: the other side does not speak TLS");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_a_foreign_authority_is_refused_on_either_side() {
    let lab = Lab::new();
    let foreign = lab.another();
    let untrusted = "TLS: the certificate is of no authority that is trusted here";
    let listener = lab.tls(Role::Broker).bind("there").await.unwrap();
    // One who trusts the broker, with a certificate that the broker does not trust.
    let mixed = Pem { ca: format!("{}{}", lab.ca, foreign.ca), ..foreign.pem(Role::Producer, DAY) };
    let (served, called) = met(&*listener, &*lab.with(Role::Producer, &mixed), Role::Broker).await;
    assert_eq!((why(served), unread(called).await), (untrusted.into(), "received fatal alert: UnknownCA".into()));
    // A broker of another house.
    let listener = foreign.tls(Role::Broker).bind("there").await.unwrap();
    let (served, called) = met(&*listener, &*lab.tls(Role::Producer), Role::Broker).await;
    assert_eq!((why(served), why(called)), ("TLS: received fatal alert: UnknownCA".into(), untrusted.into()));
}

#[tokio::test(start_paused = true)]
async fn an_expired_certificate_is_refused_by_our_clock_on_either_side() {
    let lab = Lab::new();
    let expired = "TLS: the certificate expired at 2026-01-01T00:01:00Z, now it is 2026-01-01T00:01:01Z";
    let brief = |role| lab.with(role, &lab.pem(role, 60 * SECOND));
    let (broker, producer) = (brief(Role::Broker), brief(Role::Producer));
    let listener = broker.bind("there").await.unwrap();
    lab.pass(60 * SECOND);
    let (served, called) = met(&*listener, &*lab.tls(Role::Producer), Role::Broker).await;
    assert!(served.is_ok() && called.is_ok(), "in its last second it is valid");
    lab.pass(SECOND);
    let (served, called) = met(&*listener, &*lab.tls(Role::Producer), Role::Broker).await;
    assert_eq!((why(served), why(called)), ("TLS: received fatal alert: CertificateExpired".into(), expired.into()));
    broker.renew(lab.credentials(Role::Broker, &lab.pem(Role::Broker, DAY)).unwrap());
    let (served, called) = met(&*listener, &*producer, Role::Broker).await;
    assert_eq!(
        (why(served), unread(called).await),
        (expired.into(), "received fatal alert: CertificateExpired".into())
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_shows_no_certificate_is_refused_by_services_and_welcome_at_the_api() {
    let lab = Lab::new();
    let operator = Tls::new(lab.network.clone(), Credentials::of_operator(&lab.ca, lab.clock.clone()).unwrap());
    let listener = lab.tls(Role::Broker).bind("there").await.unwrap();
    let (served, called) = met(&*listener, &operator, Role::Broker).await;
    let told = (why(served), unread(called).await);
    assert_eq!(told, ("TLS: no certificate was shown".into(), "received fatal alert: CertificateRequired".into()));
    let listener = lab.tls(Role::Producer).bind_public("there").await.unwrap();
    let (served, called) = met(&*listener, &operator, Role::Producer).await;
    assert_eq!((served.unwrap().role, called.unwrap().role), (None, Some(Role::Producer)));
}

#[tokio::test(start_paused = true)]
async fn a_server_with_another_roles_certificate_is_refused_even_if_that_role_may_serve() {
    let lab = Lab::new();
    let listener = lab.tls(Role::Ledger).bind("there").await.unwrap();
    let (served, called) = met(&*listener, &*lab.tls(Role::Consumer), Role::Broker).await;
    assert_eq!(why(served), "TLS: received fatal alert: BadCertificate");
    let told = why(called);
    assert!(told.contains("not valid for name \"broker.tenantry.internal\""), "{told}");
    assert!(told.contains("ledger.tenantry.internal"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_only_serves_calls_nobody_and_one_that_only_calls_serves_nobody() {
    let lab = Lab::new();
    let listener = lab.tls(Role::Broker).bind("there").await.unwrap();
    let (served, called) = met(&*listener, &*lab.tls(Role::Audit), Role::Broker).await;
    let told = why(served);
    assert!(told.contains("does not allow extended key usage for client authentication"), "{told}");
    assert_eq!(unread(called).await, "received fatal alert: UnsupportedCertificate");
    let listener = lab.tls(Role::Consumer).bind("there").await.unwrap();
    let (_, called) = met(&*listener, &*lab.tls(Role::Producer), Role::Broker).await;
    assert!(called.is_err());
}

#[tokio::test(start_paused = true)]
async fn services_and_the_api_do_not_take_each_other_for_one() {
    let lab = Lab::new();
    let listener = lab.tls(Role::Producer).bind("there").await.unwrap();
    let (served, called) = met(&*listener, &*lab.tls(Role::Ledger), Role::Producer).await;
    assert_eq!(why(served), "TLS: peer doesn't support any known protocol");
    assert_eq!(why(called), "TLS: received fatal alert: NoApplicationProtocol");
}

#[tokio::test(start_paused = true)]
async fn whoever_connects_and_says_nothing_holds_nobody_and_is_gone_after_a_second() {
    let lab = Lab::new();
    let (broker, consumer) = (lab.tls(Role::Broker), lab.tls(Role::Consumer));
    let _stop = start(&*broker).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(lab.network.connect("there", Role::Broker).await.unwrap());
    }
    let begin = Instant::now();
    let client = Client::<Echo>::new(consumer, "there", Role::Consumer);
    assert_eq!(client.call(&1, SECOND).await, Ok(1));
    assert!(begin.elapsed() < SECOND / 10, "it took {:?}", begin.elapsed());
    let mut byte = [0];
    assert_eq!(silent[0].stream.read(&mut byte).await.unwrap_or(0), 0, "the server closes");
    assert!((SECOND..SECOND * 2).contains(&begin.elapsed()), "closed after {:?}", begin.elapsed());
}

/// Answers a number of milliseconds after having waited for as long.
struct Echo;

impl Service for Echo {
    const ROLE: Role = Role::Broker;
    type Request = u64;
    type Reply = u64;

    fn may(client: Role, _: &u64) -> bool {
        client == Role::Consumer
    }

    async fn handle(&self, request: u64) -> Result<u64, CallError> {
        sleep(Duration::from_millis(request)).await;
        Ok(request)
    }
}

async fn start(network: &dyn Network) -> CancellationToken {
    let stop = CancellationToken::new();
    tokio::spawn(rpc::serve(network.bind("there").await.unwrap(), Arc::new(Echo), stop.clone()));
    stop
}

#[tokio::test(start_paused = true)]
async fn a_greeting_that_claims_another_role_than_the_certificates_is_refused() {
    let lab = Lab::new();
    let _stop = start(&*lab.tls(Role::Broker)).await;
    // The ledger's certificate is genuine, and may call: only not as the consumer.
    let liar = Client::<Echo>::new(lab.tls(Role::Ledger), "there", Role::Consumer);
    let told = liar.call(&1, SECOND).await.unwrap_err().to_string();
    assert!(told.ends_with("the certificate is the ledger's, the greeting says consumer"), "{told}");
    let honest = Client::<Echo>::new(lab.tls(Role::Ledger), "there", Role::Ledger);
    let told = honest.call(&1, SECOND).await.unwrap_err().to_string();
    assert!(told.ends_with("the ledger role has no right to ask this"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn renewal_under_traffic_loses_no_call() {
    let lab = Lab::new();
    // A channel of these has at least 7 seconds: it retires after 4.7, and there are 2.3 for what is under way.
    let brief = |role| lab.pem(role, 12 * SECOND);
    let (broker, consumer) =
        (lab.with(Role::Broker, &brief(Role::Broker)), lab.with(Role::Consumer, &brief(Role::Consumer)));
    let _stop = start(&*broker).await;
    let client = Arc::new(Client::<Echo>::new(consumer.clone(), "there", Role::Consumer));
    let mut calls = tokio::task::JoinSet::new();
    // 60 seconds of calls that take up to 1.5 s each, over ten lives of a certificate.
    for step in 0..600_u64 {
        if step % 10 == 0 {
            lab.pass(SECOND);
        }
        if step % 50 == 0 {
            broker.renew(lab.credentials(Role::Broker, &brief(Role::Broker)).unwrap());
            consumer.renew(lab.credentials(Role::Consumer, &brief(Role::Consumer)).unwrap());
        }
        let client = client.clone();
        calls.spawn(async move { client.call(&(step % 15 * 100), 5 * SECOND).await });
        sleep(SECOND / 10).await;
    }
    let mut answered = 0;
    while let Some(answer) = calls.join_next().await {
        answer.unwrap().unwrap();
        answered += 1;
    }
    assert_eq!(answered, 600);
}

#[tokio::test(start_paused = true)]
async fn a_channel_ends_with_the_certificate_it_was_opened_with() {
    let lab = Lab::new();
    let brief = |role| lab.with(role, &lab.pem(role, 30 * SECOND));
    // Whose certificate it is, does not matter.
    for (broker, consumer) in
        [(brief(Role::Broker), lab.tls(Role::Consumer)), (lab.tls(Role::Broker), brief(Role::Consumer))]
    {
        let _stop = start(&*broker).await;
        let client = Client::<Echo>::new(consumer, "there", Role::Consumer);
        let begin = Instant::now();
        let told = client.call(&50_000, 60 * SECOND).await.unwrap_err();
        assert!(matches!(told, CallError::Unknown(_)), "{told}");
        assert!(begin.elapsed() <= 31 * SECOND + SILENCE_MAX, "it went on for {:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn no_channel_outlives_the_greatest_age() {
    let lab = Lab::new();
    let _stop = start(&*lab.tls(Role::Broker)).await;
    let channel = lab.tls(Role::Consumer).connect("there", Role::Broker).await.unwrap();
    let begin = Instant::now();
    channel.expiry.passed().await;
    assert_eq!(begin.elapsed().as_secs(), AGE_MAX.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_authority_is_replaced_by_trusting_both_for_a_while() {
    let (old, both) = (Lab::new(), "both");
    let new = old.another();
    let bundle = format!("{}{}", old.ca, new.ca);
    let by = |lab: &Lab, ca: &str, role| {
        let pem = Pem { ca: if ca == both { bundle.clone() } else { lab.ca.clone() }, ..lab.pem(role, DAY) };
        lab.with(role, &pem)
    };
    // In the order in which it is rolled out: trust both, then show the new, then trust the new only.
    for (broker, consumer) in [
        (by(&old, both, Role::Broker), by(&old, "own", Role::Consumer)),
        (by(&old, both, Role::Broker), by(&new, both, Role::Consumer)),
        (by(&new, both, Role::Broker), by(&old, both, Role::Consumer)),
        (by(&new, "own", Role::Broker), by(&new, both, Role::Consumer)),
    ] {
        let listener = broker.bind("there").await.unwrap();
        let (served, called) = met(&*listener, &*consumer, Role::Broker).await;
        assert!(served.is_ok() && called.is_ok());
    }
    let listener = by(&new, "own", Role::Broker).bind("there").await.unwrap();
    let (served, _) = met(&*listener, &*by(&old, both, Role::Consumer), Role::Broker).await;
    assert!(served.is_err(), "the old authority is not trusted any more");
}

#[test]
fn credentials_that_others_would_refuse_are_refused_at_home_with_the_reason() {
    let lab = Lab::new();
    let pem = lab.pem(Role::Consumer, DAY);
    let refusal = |role, pem: &Pem| lab.credentials(role, pem).err().expect("a refusal").to_string();
    assert_eq!(refusal(Role::Broker, &pem), "the certificate is the consumer's, the broker's is wanted");
    let mismatch = Pem { key: lab.pem(Role::Consumer, DAY).key, ..pem.clone() };
    assert_eq!(refusal(Role::Consumer, &mismatch), "the private key is not that of the certificate");
    let foreign = Pem { ca: lab.another().ca, ..pem.clone() };
    let told = "the certificate would be refused: the certificate is of no authority that is trusted here";
    assert_eq!(refusal(Role::Consumer, &foreign), told);
    let half = Pem { certificate: pem.certificate[..pem.certificate.len() / 2].into(), ..pem.clone() };
    assert!(refusal(Role::Consumer, &half).starts_with("the certificate can't be read: "));
    let empty = Pem { ca: String::new(), ..pem.clone() };
    assert_eq!(refusal(Role::Consumer, &empty), "the CA bundle can't be read: there is no certificate in it");
    let leaf = Pem { ca: pem.certificate.clone(), ..pem.clone() };
    let told = "the CA bundle can't be read: a certificate in it is not an authority's";
    assert_eq!(refusal(Role::Consumer, &leaf), told);
    lab.pass(2 * DAY);
    let told = "the certificate would be refused: the certificate expired at 2026-01-02T00:00:00Z, now it is 2026-01-03T00:00:00Z";
    assert_eq!(refusal(Role::Consumer, &pem), told);
}

#[test]
fn a_certificate_says_whose_it_is_and_what_it_may_do() {
    let lab = Lab::new();
    for role in Role::ALL {
        let credentials = lab.credentials(role, &lab.pem(role, DAY)).unwrap();
        let certificate = credentials.certificate().unwrap();
        assert_eq!((certificate.role, certificate.is_ca), (Some(role), false));
        assert_eq!((certificate.calls, certificate.serves), (role.calls(), role.serves()), "{role}");
        assert_eq!(certificate.not_after.to_string(), "2026-01-02T00:00:00Z");
    }
    let hosts = ["panel.example.com", "192.0.2.7", "2001:db8::7"].map(String::from);
    let issued = lab.authority.issue(Role::Producer, &hosts, lab.clock.now(), DAY, &OsEntropy).unwrap();
    let pem = Pem { ca: lab.ca.clone(), certificate: issued.certificate, key: issued.key };
    let credentials = lab.credentials(Role::Producer, &pem).unwrap();
    assert_eq!(credentials.certificate().unwrap().hosts[1..], hosts);
}

#[test]
fn an_authority_that_was_kept_goes_on_issuing() {
    let lab = Lab::new();
    let (_, kept) = CertificateAuthority::new(lab.clock.now(), DAY, &OsEntropy).unwrap();
    let again = CertificateAuthority::from_pem(&kept.certificate, &kept.key).unwrap();
    let issued = again.issue(Role::Audit, &[], lab.clock.now(), DAY, &OsEntropy).unwrap();
    let pem = Pem { ca: kept.certificate, certificate: issued.certificate, key: issued.key };
    assert!(lab.credentials(Role::Audit, &pem).is_ok());
    let leaf = lab.pem(Role::Audit, DAY);
    assert!(CertificateAuthority::from_pem(&leaf.certificate, &leaf.key).is_err(), "a role is no authority");
}
