//! The company's identity provider for real: its keys by https, read by processes that trust one authority's word on it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenantry_system::auth::IdentityProvider;
use tenantry_system::capability::{Clock, Incoming, Network, OsEntropy, SystemClock, Tcp};
use tenantry_system::ids::UserId;
use tenantry_system::rights::Role;
use tenantry_system::tls::{CertificateAuthority, Credentials, Issued, Pem, Tls};
use tenantry_tests::{Cluster, Panel, ROLES, credit, eventually, free_address, write_file};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const ISSUER: &str = "https://login.example.com";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is confirmed takes effect, and a new key is taken up, within this time.
const BOUND: Duration = Duration::from_secs(30);

/// A provider's web server.
struct Website {
    tls: Arc<Tls>,
    jwks: Arc<Mutex<String>>,
    _server: JoinSet<()>,
}

/// An authority, and what the web server at `localhost` shows that it signed.
fn certificate() -> (Issued, Credentials) {
    let now = SystemClock.now();
    let (authority, kept) = CertificateAuthority::new(now, DAY, &OsEntropy).unwrap();
    let issued = authority.issue(Role::Producer, &["localhost".into()], now, DAY, &OsEntropy).unwrap();
    let pem = Pem { ca: kept.certificate.clone(), certificate: issued.certificate, key: issued.key };
    (kept, Credentials::of_role(Role::Producer, &pem, Arc::new(SystemClock)).unwrap())
}

impl Website {
    async fn open(address: &str, jwks: String, credentials: Credentials) -> Self {
        let tls = Arc::new(Tls::new(Arc::new(Tcp), credentials));
        let listener = tls.bind_public(address).await.unwrap();
        let jwks = Arc::new(Mutex::new(jwks));
        let (mut server, shown) = (JoinSet::new(), jwks.clone());
        server.spawn(async move {
            loop {
                let Ok(incoming) = listener.accept().await else { continue };
                let shown = shown.clone();
                tokio::spawn(answer(incoming, shown));
            }
        });
        Self { tls, jwks, _server: server }
    }
}

/// One request, one answer.
async fn answer(incoming: Incoming, jwks: Arc<Mutex<String>>) {
    // Whoever does not trust the certificate hangs up.
    let Ok(mut channel) = incoming.open().await else { return };
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && channel.stream.read_exact(&mut byte).await.is_ok() {
        head.push(byte[0]);
    }
    let document = jwks.lock().unwrap().clone();
    let told = match head.starts_with(b"GET /keys/jwks.json HTTP/1.1\r\n") {
        true => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{document}", document.len()),
        false => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
    };
    let _ = channel.stream.write_all(told.as_bytes()).await;
    let _ = channel.stream.shutdown().await;
}

fn token(provider: &IdentityProvider) -> String {
    provider.token(&UserId::parse("ana").unwrap(), SystemClock.unix_seconds(), 3600)
}

/// What the API answers to a command of this id.
async fn submit(cluster: &Cluster, provider: &IdentityProvider, id: &str) -> Option<(u16, serde_json::Value)> {
    let panel = Panel::new(cluster.address("producer"), token(provider));
    let mut command = credit(id, 1);
    command["user_id"] = "ana".into();
    let answer = panel.post(&command).await.ok()?;
    Some((answer.status.as_u16(), answer.body))
}

#[test]
fn a_provider_behind_https_is_believed_through_a_rotation_and_only_under_its_own_authority() {
    let (authority, credentials) = certificate();
    let mut provider = IdentityProvider::new(ISSUER, &OsEntropy);
    let address = free_address().replace("127.0.0.1", "localhost");
    let ca = tempfile::NamedTempFile::new().unwrap();
    write_file(ca.path(), &authority.certificate);
    let mut cluster =
        Cluster::new(Some("revision = 1\n[[binding]]\nuser = \"ana\"\ntenant = \"acme\"\nrole = \"admin\"\n"));
    cluster.configure(&format!(
        "[identity]\nissuer = \"{ISSUER}\"\njwks = \"https://{address}/keys/jwks.json\"\nca_file = {:?}\n\
         refresh_seconds = 1\nstale_max_seconds = 15\n",
        ca.path()
    ));
    ROLES.into_iter().for_each(|role| cluster.start(role));
    Runtime::new().unwrap().block_on(async {
        // Nobody gets in before there are keys, and nobody is told that they are somebody else.
        eventually("the API says that it can't tell who this is", BOUND, async || {
            let (status, _) = submit(&cluster, &provider, "m-early").await?;
            assert!(status == 503 || status == 504, "{status} without any key");
            Some(())
        })
        .await;

        // Someone else at the provider's address, whom another authority has certified, with keys of their own.
        let (impostor, (_, foreign)) = (IdentityProvider::new(ISSUER, &OsEntropy), certificate());
        let website = Website::open(&address, impostor.jwks(), foreign).await;
        eventually("auth says whom it does not trust", BOUND, async || {
            cluster.log("auth").contains("UnknownIssuer").then_some(())
        })
        .await;
        let (status, body) = submit(&cluster, &impostor, "m-impostor").await.unwrap();
        assert!(status == 503 || status == 504, "{status} {body}");

        // The provider itself.
        *website.jwks.lock().unwrap() = provider.jwks();
        website.tls.renew(credentials);
        eventually("a command is confirmed", BOUND, async || {
            let (status, _) = submit(&cluster, &provider, "m-1").await?;
            matches!(status, 200 | 202).then_some(())
        })
        .await;
        let panel = Panel::new(cluster.address("producer"), token(&provider));
        eventually("a confirmed command takes effect", BOUND, async || {
            let answer = panel.status("acme", "m-1", 2000).await.ok()?;
            (answer.body["status"] == "applied").then_some(())
        })
        .await;
        // An unknown key may be a new one: the keys are read again before anyone is sent away.
        eventually("the impostor's tokens are not believed", BOUND, async || {
            (submit(&cluster, &impostor, "m-impostor").await?.0 == 401).then_some(())
        })
        .await;

        // A new key signs, and the old one is given up.
        let former = provider.clone();
        provider.rotate(&OsEntropy);
        provider.drop_former(0);
        *website.jwks.lock().unwrap() = provider.jwks();
        eventually("tokens of the new key are believed", BOUND, async || {
            (submit(&cluster, &provider, "m-2").await?.0 == 202).then_some(())
        })
        .await;
        eventually("tokens of the old key are not", BOUND, async || {
            (submit(&cluster, &former, "m-3").await?.0 == 401).then_some(())
        })
        .await;
    });
    cluster.stop();
}
