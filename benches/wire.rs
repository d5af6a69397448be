//! The wire: what every command pays before any disk is touched.
//!
//! Reading a message strictly, signing and verifying a grant (through a token, which is signed the same way), and a frame
//! there and back. The floor of reading is serde_json without our rules; the floor of a frame is one copy of its bytes.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tenantry_system::jws::{Keyring, PrivateKey};
use tenantry_system::message::Message;
use tenantry_system::rpc::Frame;

const BODY: &str = r#"{"tenant_id": "tenant-123", "user_id": "user-456", "action": "update_billing_limit",
"payload": {"limit_type": "api_requests", "new_limit": 10000}, "message_id": "msg-789",
"timestamp": "2024-10-27T10:00:00Z"}"#;

fn message(c: &mut Criterion) {
    let mut group = c.benchmark_group("message");
    group.throughput(Throughput::Bytes(BODY.len() as u64));
    let body = Bytes::from_static(BODY.as_bytes());
    group.bench_function("parse", |b| b.iter(|| Message::parse(black_box(body.clone())).expect("a message")));
    group.bench_function("floor: serde_json alone", |b| {
        b.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(&body)).expect("JSON"));
    });
    group.finish();
}

fn grant(c: &mut Criterion) {
    let mut group = c.benchmark_group("token");
    let key = PrivateKey::from_seed(&[7; 32]);
    let claims = serde_json::json!({"iss": "a", "aud": "b", "sub": "user-456", "tenant": "tenant-123", "iat": 0});
    let token = key.sign("bench+jwt", &claims);
    let ring = Keyring::from(&key.public());
    group.bench_function("sign", |b| b.iter(|| key.sign("bench+jwt", black_box(&claims))));
    group.bench_function("verify", |b| {
        b.iter(|| ring.verify::<serde_json::Value>(black_box(&token), "bench+jwt").expect("our own token"));
    });
    group.finish();
}

fn frame(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    let body = Bytes::from(vec![b'x'; 1024]);
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("there and back", |b| {
        b.iter(|| {
            let frame = Frame::Request { id: 7, deadline_ms: 1000, body: body.clone() };
            Frame::decode(black_box(frame.encode())).expect("a frame")
        });
    });
    group.bench_function("floor: one copy", |b| b.iter(|| Bytes::copy_from_slice(black_box(&body))));
    group.finish();
}

criterion_group!(benches, message, grant, frame);
criterion_main!(benches);
