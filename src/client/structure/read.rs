//! From YAML to a tree in which every scalar is a text or null. Structures come from other programs: what
//! would take too much memory or stack is refused.

use super::MAX_DEPTH;
use super::hidden::{hide, show};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// How many scalars, lists and maps one may have. Aliases can make a small text very large.
const MAX_NODES: usize = 1 << 20;
/// The tag of a reference to a scalar or to another reference, which Syck writes as a map.
const REFERENCE: &str = "perl/ref";
/// The one key of that map.
const REFERENCED: &str = "=";

/// The tree of the one document in `yaml`. Errors say what is wrong, and in which line.
pub fn tree(yaml: &[u8]) -> Result<Value, String> {
    let text = hide(yaml);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(&text) {
        let (event, span) = event.map_err(|error| format!("no YAML: {error}"))?;
        builder
            .take(event)
            .map_err(|error| format!("line {}: {error}", span.start.line()))?;
    }
    builder
        .root
        .ok_or_else(|| "no YAML: it is empty".to_owned())
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Value>,
    /// By the parser's number: what aliases stand for, and how many nodes it has.
    anchored: HashMap<usize, (Value, usize)>,
    nodes: usize,
    /// How many nodes all that is kept for aliases has.
    kept: usize,
}

/// A list or map whose end has not come.
struct Open {
    anchor: usize,
    /// How many nodes there were before it.
    nodes_before: usize,
    /// Its tag says that it is a reference of Perl's.
    is_reference: bool,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    /// With the key whose value has not come.
    Map(Map<String, Value>, Option<String>),
}

/// What a reference of Perl's refers to, if the fields are those of one.
fn referenced(fields: &mut Map<String, Value>) -> Option<Value> {
    (fields.len() == 1).then(|| fields.remove(REFERENCED))?
}

impl Builder {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_null = style == ScalarStyle::Plain && matches!(&*text, "" | "~");
                let is_key = matches!(
                    self.open.last(),
                    Some(Open {
                        content: Content::Map(_, None),
                        ..
                    })
                );
                let value = if is_null && !is_key {
                    Value::Null
                } else {
                    Value::String(show(&text, style))
                };
                self.add(value, anchor, 1)
            }
            Event::SequenceStart(anchor, _) => self.start(anchor, false, Content::List(Vec::new())),
            Event::MappingStart(anchor, tag) => {
                let is_reference = tag.is_some_and(|tag: Cow<'_, Tag>| tag.suffix == REFERENCE);
                self.start(anchor, is_reference, Content::Map(Map::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Err("something ends that has not begun".to_owned());
                };
                let value = match open.content {
                    Content::List(items) => Value::Array(items),
                    Content::Map(mut fields, _) => {
                        let referenced = open.is_reference.then(|| referenced(&mut fields));
                        referenced.flatten().unwrap_or(Value::Object(fields))
                    }
                };
                let nodes = self.nodes - open.nodes_before;
                self.nodes = open.nodes_before;
                self.add(value, open.anchor, nodes + 1)
            }
            Event::Alias(anchor) => match self.anchored.get(&anchor) {
                // Counted before it is copied.
                Some((_, nodes)) if self.nodes + nodes > MAX_NODES => Err(too_large()),
                Some((value, nodes)) => {
                    let (value, nodes) = (value.clone(), *nodes);
                    self.add(value, 0, nodes)
                }
                None => Err("an alias to what is not complete".to_owned()),
            },
            Event::DocumentStart(_) if self.root.is_some() => {
                Err("there is more than one document".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, anchor: usize, is_reference: bool, content: Content) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} deep"));
        }
        self.open.push(Open {
            anchor,
            nodes_before: self.nodes,
            is_reference,
            content,
        });
        Ok(())
    }

    /// Puts a complete value where it belongs.
    fn add(&mut self, value: Value, anchor: usize, nodes: usize) -> Result<(), String> {
        self.nodes += nodes;
        if anchor != 0 {
            self.kept += nodes;
            self.anchored.insert(anchor, (value.clone(), nodes));
        }
        if self.nodes + self.kept > MAX_NODES {
            return Err(too_large());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(value),
            Some(Content::List(items)) => items.push(value),
            Some(Content::Map(fields, key)) => match (key.take(), value) {
                (Some(key), value) => {
                    fields.insert(key, value);
                }
                (None, Value::String(name)) => *key = Some(name),
                (None, _) => return Err("a key that is no text".to_owned()),
            },
        }
        Ok(())
    }
}

fn too_large() -> String {
    format!("too large: more than {MAX_NODES} nodes")
}
