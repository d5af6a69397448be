//! Followers: operators who look at their tenant's live stream while everything else goes on, and come back with the last id
//! whenever it breaks off - or after some events of their own accord, for not every run breaks it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::AUTHORIZATION;
use serde_json::Value;
use tenantry_system::capability::World;
use tenantry_system::ids::{TenantId, UserId};
use tenantry_system::outside::{Client, Url};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::cast::{Cast, Part};
use super::evidence::Evidence;
use super::idp::Idp;
use super::marks;
use crate::engine::dice::Dice;

/// The followers' host.
pub const HOST: &str = "followers";

/// A stream that says nothing for longer is given up: a comment comes every ten seconds.
const SILENCE_MAX: Duration = Duration::from_secs(12);

/// An answer begins within this time.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Between two connections.
const PAUSE: Duration = Duration::from_millis(200);

/// A connection is left after so many events.
const EVENTS_MAX: usize = 40;

/// What one follower saw, joined over all its connections.
#[derive(Debug, Clone)]
pub struct Followed {
    /// Who.
    pub operator: UserId,
    /// Of which tenant.
    pub tenant: TenantId,
    /// Where the stream began: it has what comes after this place.
    pub begin: Option<u64>,
    /// Places, and the tenant that each event said it is of.
    pub events: Vec<(u64, String)>,
    /// What was no event of a stream.
    pub broken: Vec<String>,
    /// Whether they were last told that they may not.
    pub refused: bool,
}

impl Followed {
    /// Whether they have seen all that there will be, if `end` is their tenant's last place in the log.
    #[must_use]
    pub fn has_all(&self, end: u64) -> bool {
        self.refused || self.last().is_some_and(|last| last >= end)
    }

    fn last(&self) -> Option<u64> {
        self.events.last().map(|(place, _)| *place).or(self.begin)
    }
}

/// `count` followers of the tenants in turn, each an admin there. The last tenant has nobody.
#[must_use]
pub fn draw(dice: &Dice, cast: &Cast, count: u64) -> Vec<Followed> {
    let followed = |index: u64| {
        let chosen = dice.range("followers.tenant", &index.to_string(), 0, 0..=cast.tenants.len() as u64 - 2) as usize;
        let tenant = cast.tenants[chosen].clone();
        let admin = cast.operators.iter().find(|operator| cast.part(operator, &tenant) == Some(Part::Admin));
        let operator = admin.expect("every tenant but the last has an admin").clone();
        Followed { operator, tenant, begin: None, events: Vec::new(), broken: Vec::new(), refused: false }
    };
    (0..count).map(followed).collect()
}

/// Follows for ever; what is seen stands in the evidence.
pub async fn run(world: World, address: String, provider: Idp, evidence: Evidence) {
    let count = evidence.seen().followed.len();
    let follower = Arc::new(Follower { world, address, provider, evidence });
    let mut following = JoinSet::new();
    for index in 0..count {
        let follower = follower.clone();
        following.spawn(async move {
            loop {
                let ended = follower.follow(index).await;
                let told = ended.err().unwrap_or_else(|| "left".into());
                follower.evidence.record(HOST, "stream.ended", &format!("{index} {told}"));
                sleep(PAUSE).await;
            }
        });
    }
    following.join_all().await;
}

struct Follower {
    world: World,
    address: String,
    provider: Idp,
    evidence: Evidence,
}

impl Follower {
    /// One connection of the follower `index`.
    async fn follow(&self, index: usize) -> Result<(), String> {
        let (operator, tenant, last) = {
            let seen = self.evidence.seen();
            let followed = &seen.followed[index];
            (followed.operator.clone(), followed.tenant.clone(), followed.last())
        };
        let token = self.provider.token(&operator, self.world.clock.unix_seconds());
        let url = Url::parse_any(&format!("http://{}", self.address))?;
        let client = Client::in_the_clear(self.world.network.clone(), url);
        let request = Request::get(format!("/v1/tenants/{tenant}/events"));
        let mut request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|error| error.to_string())?;
        let answer = timeout(ANSWER_MAX, client.send(request)).await;
        let mut answer = answer.map_err(|_| "no answer")??;
        self.evidence.seen().followed[index].refused = answer.status() == 403;
        if answer.status() != 200 {
            return Err(format!("answered {}", answer.status()));
        }
        if last.is_some() {
            self.evidence.mark(marks::STREAM_RESUMED);
        }
        let (mut text, mut events) = (String::new(), 0);
        while events < EVENTS_MAX {
            let read = timeout(SILENCE_MAX, answer.next()).await.map_err(|_| "silent")??;
            let bytes = read.ok_or("the end of the answer")?;
            text += &String::from_utf8_lossy(&bytes);
            while let Some((block, rest)) = text.split_once("\n\n") {
                events += usize::from(self.block(index, block)?);
                text = rest.to_owned();
            }
        }
        Ok(())
    }

    /// Writes down what a block says; whether it was an event.
    fn block(&self, index: usize, block: &str) -> Result<bool, String> {
        self.evidence.record(HOST, "stream.block", &format!("{index} {block}"));
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let id = field("id: ").and_then(|id| id.parse().ok());
        if field("event: ") == Some("end") {
            self.evidence.mark(marks::STREAM_ENDED);
            return Err("the server ended it".into());
        }
        let mut seen = self.evidence.seen();
        let followed = &mut seen.followed[index];
        match (id, field("data: ")) {
            (Some(place), Some(data)) => {
                let told: Value = serde_json::from_str(data).unwrap_or_default();
                let tenant = told["tenant_id"].as_str().unwrap_or("-").to_owned();
                if told["place"] != place {
                    followed.broken.push(format!("{place}: {data}"));
                }
                let right = tenant == followed.tenant.as_str() && followed.last().is_none_or(|last| place > last);
                let now = super::world::now();
                self.evidence.marks.always(marks::STREAM_OF_ITS_TENANT, now, right, || format!("{index} {block}"));
                followed.events.push((place, tenant));
                Ok(true)
            }
            (Some(begin), None) => {
                followed.begin.get_or_insert(begin);
                Ok(false)
            }
            (None, None) => Ok(false),
            (None, Some(data)) => {
                followed.broken.push(data.to_owned());
                Ok(false)
            }
        }
    }
}
