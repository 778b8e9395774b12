//! HTTP requests made from inside an instance: what it can reach, and what it gets.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::access::{Access, Ran};
use crate::openclaw::instance::Place;

/// A request; the key goes through stdin, so that no process list shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) url: &'a str,
    pub(crate) key: Option<&'a str>,
    /// A POST when there is one.
    pub(crate) body: Option<&'a str>,
    pub(crate) timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// OpenClaw's images have Node; `fetch` is built in since version 18.
const NODE: &str = r#"let s="";process.stdin.on("data",d=>s+=d).on("end",async()=>{const q=JSON.parse(s);
try{const r=await fetch(q.url,{method:q.body===null?"GET":"POST",headers:q.headers,body:q.body??undefined,signal:AbortSignal.timeout(q.timeout)});
console.log(JSON.stringify({status:r.status,body:(await r.text()).slice(0,65536)}))}
catch(e){console.log(JSON.stringify({error:String(e.cause?.message||e.message||e)}))}})"#;

/// Why a question is not even sent.
pub(crate) const CANNOT_ASK: &str = "the container has no program to ask with (node or curl)";

/// What starting the program takes, on a busy machine.
const MARGIN: Duration = Duration::from_secs(20);

const BODY_MAX: usize = 1 << 20;

impl Access<'_> {
    /// Sends a request from where the instance is.
    ///
    /// # Errors
    /// Why nobody answered, in the words of the program that asked.
    pub(crate) fn ask(&self, ask: &Ask<'_>) -> Result<Said, String> {
        match &self.instance.place {
            Place::Local => from_here(ask),
            Place::Docker(_) => self.ask_in_container(ask),
        }
    }

    fn ask_in_container(&self, ask: &Ask<'_>) -> Result<Said, String> {
        let run = |argv: &[&str], stdin: &str| {
            let limit = ask.timeout + MARGIN;
            let ran = self.command(argv, (stdin.as_bytes(), limit))?;
            Ok::<_, String>(ran.filter(|ran| !matches!(ran.code, 126 | 127)))
        };
        let question = json!({
            "url": ask.url, "headers": headers(ask), "body": ask.body,
            "timeout": ask.timeout.as_millis() as u64,
        });
        if let Some(ran) = run(&["node", "-e", NODE], &question.to_string())? {
            return said_by_node(&ran);
        }
        let seconds = ask.timeout.as_secs().max(1).to_string();
        let curl = [
            "curl",
            "-sS",
            "-m",
            &seconds,
            "-w",
            "\n%{http_code}",
            "-K",
            "-",
        ];
        if let Some(ran) = run(&curl, &curl_config(ask))? {
            return said_by_curl(&ran);
        }
        if ask.key.is_none() && ask.body.is_none() {
            // Without its own time limit, which crashes some; the command has one.
            let wget = ["wget", "-q", "-O", "-", ask.url];
            if let Some(ran) = run(&wget, "")? {
                return match ran.code {
                    0 => Ok(Said {
                        status: 200,
                        body: ran.stdout,
                    }),
                    _ => Err(ran.stderr.trim().to_owned()),
                };
            }
        }
        Err(CANNOT_ASK.to_owned())
    }
}

fn headers(ask: &Ask<'_>) -> serde_json::Value {
    match ask.key {
        Some(key) => json!({"x-api-key": key, "content-type": "application/json"}),
        None => json!({}),
    }
}

/// curl's configuration file, which it reads from stdin.
fn curl_config(ask: &Ask<'_>) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut config = format!("url = \"{}\"\n", quoted(ask.url));
    if let Some(key) = ask.key {
        config += &format!("header = \"x-api-key: {}\"\n", quoted(key));
        config += "header = \"content-type: application/json\"\n";
    }
    if let Some(body) = ask.body {
        config += &format!("data = \"{}\"\n", quoted(body));
    }
    config
}

fn said_by_node(ran: &Ran) -> Result<Said, String> {
    #[derive(Deserialize)]
    struct Answer {
        status: Option<u16>,
        #[serde(default)]
        body: String,
        error: Option<String>,
    }
    let odd = || format!("node said: {} {}", ran.stdout.trim(), ran.stderr.trim());
    let answer: Answer = serde_json::from_str(ran.stdout.trim()).map_err(|_| odd())?;
    match (answer.status, answer.error) {
        (Some(status), _) => Ok(Said {
            status,
            body: answer.body,
        }),
        (None, Some(error)) => Err(error),
        (None, None) => Err(odd()),
    }
}

fn said_by_curl(ran: &Ran) -> Result<Said, String> {
    if ran.code != 0 {
        return Err(ran.stderr.trim().to_owned());
    }
    let (body, status) = ran.stdout.rsplit_once('\n').unwrap_or(("", &ran.stdout));
    Ok(Said {
        status: status.trim().parse().unwrap_or(0),
        body: body.to_owned(),
    })
}

/// From this machine itself.
pub(crate) fn from_here(ask: &Ask<'_>) -> Result<Said, String> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(ask.timeout))
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let answer = match ask.body {
        Some(body) => {
            let mut request = agent
                .post(ask.url)
                .header("content-type", "application/json");
            if let Some(key) = ask.key {
                request = request.header("x-api-key", key);
            }
            request.send(body)
        }
        None => {
            let mut request = agent.get(ask.url);
            if let Some(key) = ask.key {
                request = request.header("x-api-key", key);
            }
            request.call()
        }
    };
    let mut answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let limited = answer.body_mut().with_config().limit(BODY_MAX as u64);
    let body = limited.read_to_vec().map_err(|error| error.to_string())?;
    Ok(Said {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(code: i64, stdout: &str) -> Ran {
        Ran {
            code,
            stdout: stdout.to_owned(),
            stderr: "why".to_owned(),
        }
    }

    #[test]
    fn answers_of_node_and_curl_are_read() {
        let said = |status, body: &str| {
            Ok(Said {
                status,
                body: body.to_owned(),
            })
        };
        let node = |text| said_by_node(&ran(0, text));
        assert_eq!(node("{\"status\":200,\"body\":\"x\"}\n"), said(200, "x"));
        assert_eq!(node("{\"error\":\"refused\"}"), Err("refused".to_owned()));
        assert_eq!(node("oops"), Err("node said: oops why".to_owned()));
        assert_eq!(said_by_curl(&ran(0, "a\nb\n401")), said(401, "a\nb"));
        assert_eq!(said_by_curl(&ran(7, "\n000")), Err("why".to_owned()));
    }

    #[test]
    fn curl_reads_what_was_meant() {
        let ask = Ask {
            url: "http://x/",
            key: Some("a\"b\\c"),
            body: Some("{\"x\":1}"),
            timeout: Duration::from_secs(1),
        };
        assert_eq!(
            curl_config(&ask),
            "url = \"http://x/\"\nheader = \"x-api-key: a\\\"b\\\\c\"\n\
             header = \"content-type: application/json\"\ndata = \"{\\\"x\\\":1}\"\n"
        );
    }
}
