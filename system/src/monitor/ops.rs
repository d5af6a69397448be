//! What operators of the installation ask, at an address of its own: `/metrics`, `/healthz`, `/readyz`.
//!
//! Whoever may read it learns how much is going on, so it listens on loopback only and is never part of the public API.
//! Whatever collects metrics runs an agent on the machine, as it does for all others on it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Monitor;
use crate::capability::Listener;
use crate::producer::serve_bounded;

/// Connections at once: a scraper, a supervisor, and people.
const CONNECTIONS_MAX: usize = 16;

/// The content type of Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers at `listener` until `stop`.
pub async fn serve(listener: Box<dyn Listener>, monitor: Monitor, stop: CancellationToken) {
    serve_bounded(listener, router(monitor), CONNECTIONS_MAX, stop).await;
}

fn router(monitor: Monitor) -> Router {
    let (scraped, alive, ready) = (monitor.clone(), monitor.clone(), monitor);
    Router::new()
        .route("/metrics", get(|| async move { ([(header::CONTENT_TYPE, TEXT)], scraped.scrape()) }))
        .route("/healthz", get(|| async move { answer(&alive, true).await }))
        .route("/readyz", get(|| async move { answer(&ready, false).await }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "here are /metrics, /healthz and /readyz\n") })
}

async fn answer(monitor: &Monitor, vital_only: bool) -> Response {
    let checks = monitor.health.look(vital_only).await;
    let ok = checks.iter().all(|checked| checked.ok || !checked.needed);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ok": ok, "checks": checks }))).into_response()
}
