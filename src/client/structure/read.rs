//! Parses YAML into a tree in which every scalar is a text or null. Structures come from other programs, so those that
//! would need too much memory or stack are refused.

use super::hidden::{hide, show};
use super::write::MAX_DEPTH;
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// The largest number of scalars, lists and maps in a structure. Aliases can expand a small text to a very large tree.
const MAX_NODES: usize = 1 << 20;
/// The tag of a Perl reference to a scalar or to another reference, which Syck writes as a map.
const REFERENCE: &str = "perl/ref";
/// The only key of such a map.
const REFERENCED: &str = "=";

/// Parses the only document in `yaml`. The error is a message that names the line.
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
    /// The anchored values by the parser's numbers, each with the number of its nodes.
    anchored: HashMap<usize, (Value, usize)>,
    nodes: usize,
    /// The number of nodes of all anchored values.
    kept: usize,
}

/// A list or map whose end was not parsed yet.
struct Open {
    anchor: usize,
    /// The number of nodes before it.
    nodes_before: usize,
    /// The tag marks it as a Perl reference.
    is_reference: bool,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    /// A map, with the key whose value was not parsed yet.
    Map(Map<String, Value>, Option<String>),
}

/// The target of a Perl reference, if the fields are those of one.
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
                // Counted before the copy, which may be large.
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

    /// Adds a complete value to the innermost open list or map.
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
