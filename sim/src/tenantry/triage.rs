//! Operators deal with the dead letters that the adversary leaves: each is replayed or discarded, again and again until the
//! answer is final; and some try who may not.

use std::time::Duration;

use hyper::Method;
use serde_json::json;
use tokio::time::sleep;

use super::marks;
use super::operators::{HOST, Operators};
use super::workload::{Triage, Verb};

/// The pause before someone looks again for a letter that does not lie there yet, or that they may not see just now.
const AGAIN: Duration = Duration::from_millis(250);

/// What an operator was told of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It waits again, or did already.
    Replayed,
    /// It is given up.
    Discarded,
    /// Someone else was faster.
    TooLate,
    /// They may not.
    Refused,
}

impl Operators {
    /// Deals with one letter.
    pub(super) async fn triage(&self, triage: &Triage) {
        let path = format!("/v1/tenants/{}/dead-letters/{}", triage.tenant, triage.message_id);
        let mut verb = triage.verb;
        let begun = super::world::now();
        let told = loop {
            let looked = self.request(Method::GET, &path, &triage.operator, "", |_| {}).await;
            let mut body = json!({"reason": "looked at in a simulation"});
            if looked.status == 200 {
                body["place"] = looked.body["place"].clone();
                body["body_sha256"] = looked.body["body_sha256"].clone();
            }
            let to = format!("{path}/{}", verb.name());
            let answer = self.request(Method::POST, &to, &triage.operator, &body.to_string(), |_| {}).await;
            self.evidence.record(HOST, "api.triaged", &format!("{to} {} {}", answer.status, answer.body));
            let kind = answer.body["type"].as_str().unwrap_or_default().trim_start_matches("urn:tenantry:problem:");
            let by_another = answer.body["replayed"] == false || answer.body["discarded"] == false;
            match (answer.status.as_u16(), kind) {
                // Whoever may read learns that another has done it.
                (200, _) if by_another && !triage.allowed => break Told::TooLate,
                (202, _) => break Told::Replayed,
                (200, _) if verb == Verb::Discard => break Told::Discarded,
                (200, _) => {
                    self.evidence.mark(marks::REPLAY_RECOGNISED);
                    break Told::Replayed;
                }
                (403, _) if !triage.allowed => break Told::Refused,
                // Not there yet; a role that is gone for a while; another letter by now.
                (404 | 403, _) | (409, "another-letter") => sleep(AGAIN).await,
                (409, "not-replayable") => {
                    self.evidence.mark(marks::NOT_REPLAYABLE);
                    verb = Verb::Discard;
                }
                (409, _) => break Told::TooLate,
                other => panic!("{to} was answered {other:?}: {}", answer.body),
            }
        };
        self.evidence.mark(match told {
            Told::Replayed => marks::REPLAYED,
            Told::Discarded => marks::DISCARDED,
            Told::TooLate => marks::TRIAGED_TOO_LATE,
            Told::Refused => marks::TRIAGE_REFUSED,
        });
        let now = super::world::now();
        self.evidence.seen().triaged.push((triage.clone(), told, begun, now));
        if told == Told::Replayed {
            // Whoever reads the tenant afterwards is to see its effect.
            self.status(&triage.operator, &triage.tenant, &triage.message_id).await;
        }
    }
}
