//! A request for an answer, from its bytes to the queue, or to the run that answers it already.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{
    Gateway, Job, Served,
    answer::{Answer, Channel, error_response},
    attach::other_request,
    flight::{BodyHash, Found, Question, body_hash, question},
    parse,
    route::Format,
};
use crate::{
    http::{Head, Reply, Request},
    ids, log, scheduler,
    session::{Lineages, conversation_id},
};

impl Gateway {
    pub(super) fn ask(&self, request: Request, format: Format, parse: parse::Parse) {
        let request_id = ids::request_id();
        let Request {
            head, body, reply, ..
        } = request;
        let served = self.served();
        let prepared = served.keys.identify(&head).and_then(|tenant| {
            let origin = parse::Origin {
                request_id: &request_id,
                tenant,
                kept: &served.kept,
            };
            parse(&body, &origin).map(|parsed| (tenant, parsed))
        });
        let size = (body.len(), body_hash(&head, &body));
        // The body may be megabytes; the prompt has its own copy of what counts.
        drop(body);
        match prepared {
            Ok(_) if self.draining.load(Ordering::Acquire) => {
                reply.send(error_response(
                    format,
                    &scheduler::shutting_down(),
                    &request_id,
                ));
            }
            Ok((tenant_id, parsed)) => {
                let from = (tenant_id, Arc::clone(&served));
                self.ask_parsed((from, parsed), (head, reply), (request_id, format), size);
            }
            Err(error) => {
                log::info(
                    "bad request",
                    &[("request", &request_id), ("why", &error.message)],
                );
                reply.send(error_response(format, &error, &request_id));
            }
        }
    }

    /// Queues a request that is understood, if it is to run.
    fn ask_parsed(
        &self,
        ((tenant_id, served), parsed): ((scheduler::TenantId, Arc<Served>), parse::Parsed),
        (head, reply): (Arc<Head>, Reply),
        (request_id, format): (String, Format),
        (bytes, body): (usize, Option<BodyHash>),
    ) {
        let parse::Parsed {
            prompt,
            encoder,
            task,
            beside,
            keep,
        } = parsed;
        let tenant = Arc::clone(&served.tenants[tenant_id]);
        let conversation = conversation_id(named_conversation(&head), &prompt);
        let whose = &*tenant.incarnation;
        let lineages = Lineages::of(whose, conversation.as_deref(), &prompt.messages);
        let whose = (whose, &lineages);
        let question = match task {
            None => question(whose, (&head, &prompt), (encoder.streams(), body)),
            Some(_) => None,
        };
        let reply = match &question {
            Some(question) => match self.attach(question, reply, (&request_id, format)) {
                Some(reply) => {
                    self.flights.supersede(question);
                    reply
                }
                None => return,
            },
            None => reply,
        };
        // Counting costs no model turn, and works without a login.
        if task.is_none()
            && let Err(error) = served.upstream.check(tenant_id, &prompt.model)
        {
            FROM_MEMORY.info(
                "refused without a run",
                &[
                    ("request", &request_id),
                    ("tenant", &tenant.name),
                    ("why", &error.message),
                ],
            );
            return reply.send(error_response(format, &error, &request_id));
        }
        let answer = Answer::new(request_id, format, encoder, reply)
            .ignoring(&prompt.parameters.ignored)
            .kept_at(keep);
        self.scheduler.enqueue(Box::new(Job {
            served,
            tenant_id,
            tenant,
            conversation,
            lineages,
            prompt,
            question,
            task,
            answer,
            queued_at: Instant::now(),
            bytes: bytes + beside,
        }));
    }

    /// Gives a repeat to the run, or the answer, of the request that it repeats; gives it back when there is none.
    fn attach(
        &self,
        question: &Question,
        reply: Reply,
        (request_id, format): (&str, Format),
    ) -> Option<Reply> {
        let attached = |to: &str| {
            log::info(
                "a repeat, attached",
                &[("request", &request_id), ("to", &to)],
            )
        };
        match self.flights.find(question) {
            Found::Nothing => Some(reply),
            Found::Answered(response) => {
                attached("its answer");
                reply.send(response);
                None
            }
            Found::Live(flight) => match flight.join(Channel::Held(reply)).map_err(|it| *it) {
                Ok(()) => {
                    attached("its run");
                    None
                }
                Err(Channel::Held(reply)) => Some(reply),
                // It comes back as it went in.
                Err(Channel::Open(_) | Channel::Closed) => None,
            },
            Found::Other if question.has_key() => {
                reply.send(error_response(format, &other_request(), request_id));
                None
            }
            Found::Other => Some(reply),
        }
    }
}

/// The headers in which a client may name its conversation: ours, and those that OpenClaw sends with
/// `compat.sendSessionAffinityHeaders`.
fn named_conversation(head: &Head) -> Option<&str> {
    ["x-ccgw-conversation", "x-session-affinity", "session_id"]
        .into_iter()
        .find_map(|name| head.header(name))
}

/// A client that hears no may ask again at once, and for ever.
static FROM_MEMORY: log::Sparing = log::Sparing::new();
