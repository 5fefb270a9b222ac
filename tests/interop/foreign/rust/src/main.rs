//! Asks a hub one thing with a published thalovant SDK for Rust, by its public API only.
//!
//!     ask newer|older IDENTITY wss|https|mqtt TEXT CA [SECONDS]
//!
//! The endpoint is the one that the identity names for the protocol. Over MQTT both trust what SSL_CERT_FILE names, over
//! HTTPS the newer one trusts CA; over WSS they trust only what is compiled into them, so they are asked without TLS.
//! Prints one JSON line: {"ok": bool, "replies": [str], "error": str | null}.

use std::time::Duration;

type Answer = Result<Vec<String>, String>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, sdk, identity, protocol, text, ca, rest @ ..] = arguments.as_slice() else {
        panic!("ask newer|older IDENTITY wss|https|mqtt TEXT CA [SECONDS]");
    };
    let seconds = rest.first().map_or(20.0, |given| given.parse().expect("SECONDS is a number"));
    let patience = Duration::from_secs_f64(seconds);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let answer = runtime.block_on(async {
        match sdk.as_str() {
            "newer" => ask_newer(identity, protocol, text, ca, patience).await,
            _ => ask_older(identity, protocol, text, patience).await,
        }
    });
    let line = match &answer {
        Ok(replies) => serde_json::json!({"ok": true, "replies": replies, "error": null}),
        Err(error) => serde_json::json!({"ok": false, "replies": [], "error": error}),
    };
    println!("{line}");
    std::process::exit(i32::from(answer.is_err())); // tasks that an SDK leaves behind would wait for ever
}

async fn ask_newer(identity: &str, protocol: &str, text: &str, ca: &str, patience: Duration) -> Answer {
    use newer::transport::{HttpTransport, RuntimeTransport};
    use newer::{Client, HubProtocol, Identity, RequestOptions};

    let identity = Identity::from_file(identity).map_err(told)?;
    let protocol = match protocol {
        "wss" => HubProtocol::Wss,
        "https" => HubProtocol::Https,
        _ => HubProtocol::Mqtt,
    };
    let mut client = Client::with_protocol(identity.clone(), protocol).map_err(told)?;
    if protocol == HubProtocol::Https {
        let authority = std::fs::read(ca).map_err(told)?;
        let authority = reqwest::Certificate::from_pem(&authority).map_err(told)?;
        let builder = reqwest::Client::builder().add_root_certificate(authority);
        let poll = Duration::from_millis(100);
        let http = HttpTransport::with_options_and_http_client_builder(identity, "foreign-rust", poll, builder);
        client.transport = RuntimeTransport::Http(http.map_err(told)?);
    }
    client.connect_with_timeout(patience).await.map_err(told)?;
    let options = RequestOptions { timeout: Some(patience), ..Default::default() };
    let reply = client.ask(text, options).await.map_err(told)?;
    client.close().await.map_err(told)?;
    Ok(reply.utterances)
}

async fn ask_older(identity: &str, protocol: &str, text: &str, patience: Duration) -> Answer {
    use older::{Client, HubProtocol, Identity, RequestOptions};

    let identity = Identity::from_file(identity).map_err(told)?;
    let protocol = match protocol {
        "wss" => HubProtocol::Wss,
        "https" => HubProtocol::Https,
        _ => HubProtocol::Mqtt,
    };
    let client = Client::with_protocol(identity, protocol).map_err(told)?;
    client.connect().await.map_err(told)?;
    let options = RequestOptions { timeout: Some(patience), ..Default::default() };
    let reply = client.ask(text, options).await.map_err(told)?;
    client.close().await.map_err(told)?;
    Ok(reply.utterances)
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
