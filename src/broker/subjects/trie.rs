//! The tree of the patterns' tokens: nodes, the way from one to the next, and the walk of a subject.

use super::SubscriptionId;
use crate::broker::few::Few;
use crate::broker::pages::Pages;
use crate::broker::table::Table;
use crate::protocol::pattern::{ONE, REST};
use ahash::RandomState;
use smallvec::SmallVec;
use std::borrow::Cow;

/// A beginning of patterns, for as long as there are any with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NodeId(u32);

/// The place where a pattern ends: at the node of its last token, or, if that is `>`, at the node before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct End {
    node: NodeId,
    is_rest: bool,
}

struct Node {
    /// The node's own number for the first node.
    parent: NodeId,
    token: SmallVec<[u8; 16]>,
    /// The hash of parent and token.
    hash: u64,
    /// Nodes behind this one, that of `*` among them.
    children: u32,
    /// The node behind this one for the token `*` of patterns.
    one: Option<NodeId>,
    subscriptions: Few<SubscriptionId>,
    /// Of the pattern that ends in `>` behind this node, which few have.
    rest_subscriptions: Option<Box<Few<SubscriptionId>>>,
}

impl Node {
    fn new(parent: NodeId, token: &[u8], hash: u64) -> Node {
        Node {
            parent,
            token: SmallVec::from_slice(token),
            hash,
            children: 0,
            one: None,
            subscriptions: Few::None,
            rest_subscriptions: None,
        }
    }

    fn is_needed(&self) -> bool {
        self.children > 0 || !self.subscriptions.is_empty() || self.rest_subscriptions.is_some()
    }

    fn rest_subscriptions(&self) -> &[SubscriptionId] {
        self.rest_subscriptions.as_ref().map_or(&[], |ids| ids)
    }
}

/// Lists of nodes that a walk uses; kept for their memory.
#[derive(Default)]
pub struct Walk {
    here: Vec<NodeId>,
    next: Vec<NodeId>,
}

impl Walk {
    pub fn memory(&self) -> usize {
        (self.here.capacity() + self.next.capacity()) * size_of::<NodeId>()
    }
}

pub struct Trie {
    hasher: RandomState,
    nodes: Pages<Node>,
    /// The nodes of literal tokens, by parent and token.
    by_token: Table<NodeId>,
    /// The node of no token at all; there while there is any pattern.
    first: Option<NodeId>,
}

impl Trie {
    pub fn new(hasher: RandomState) -> Trie {
        Trie {
            hasher,
            nodes: Pages::default(),
            by_token: Table::default(),
            first: None,
        }
    }

    /// Calls `visit` with the subscriptions to each pattern that matches the subject with these tokens, none of which is empty.
    /// Returns the number of nodes that were visited.
    pub fn visit<'a>(
        &self,
        tokens: impl Iterator<Item = Cow<'a, [u8]>>,
        walk: &mut Walk,
        mut visit: impl FnMut(&[SubscriptionId]),
    ) -> usize {
        let Walk { here, next } = walk;
        here.clear();
        here.extend(self.first);
        let mut visited = 0;
        for token in tokens {
            visited += here.len();
            next.clear();
            for &id in here.iter() {
                let node = &self.nodes[id.0];
                visit(node.rest_subscriptions());
                next.extend(self.literal(id, &token));
                next.extend(node.one);
            }
            std::mem::swap(here, next);
            if here.is_empty() {
                return visited;
            }
        }
        for id in here.iter() {
            visit(&self.nodes[id.0].subscriptions);
        }
        visited + here.len()
    }

    /// The end of a pattern, whose nodes are made if there are none. Somebody has to listen to it then.
    pub fn end_of<'a>(&mut self, tokens: impl Iterator<Item = Cow<'a, [u8]>>) -> End {
        let mut node = self.first.unwrap_or_else(|| self.add_first());
        for token in tokens {
            if *token == *REST {
                return End {
                    node,
                    is_rest: true,
                };
            }
            node = self
                .child(node, &token)
                .unwrap_or_else(|| self.add(node, &token));
        }
        End {
            node,
            is_rest: false,
        }
    }

    /// The end of a pattern, if there is one.
    pub fn find<'a>(&self, tokens: impl Iterator<Item = Cow<'a, [u8]>>) -> Option<End> {
        let mut node = self.first?;
        for token in tokens {
            if *token == *REST {
                return Some(End {
                    node,
                    is_rest: true,
                });
            }
            node = self.child(node, &token)?;
        }
        Some(End {
            node,
            is_rest: false,
        })
    }

    pub fn subscriptions_of(&self, end: End) -> &[SubscriptionId] {
        let node = &self.nodes[end.node.0];
        match end.is_rest {
            true => node.rest_subscriptions(),
            false => &node.subscriptions,
        }
    }

    pub fn subscriptions_mut(&mut self, end: End) -> &mut Few<SubscriptionId> {
        let node = &mut self.nodes[end.node.0];
        match end.is_rest {
            true => node.rest_subscriptions.get_or_insert_default(),
            false => &mut node.subscriptions,
        }
    }

    /// The tokens of a pattern, from the last to the first, without `>`.
    pub fn tokens_of(&self, end: End) -> impl Iterator<Item = &[u8]> {
        let mut id = end.node;
        std::iter::from_fn(move || {
            let node = &self.nodes[id.0];
            let is_first = node.parent == id;
            id = node.parent;
            (!is_first).then_some(&node.token[..])
        })
    }

    /// The text of a pattern of subjects.
    pub fn pattern_of(&self, end: End) -> Vec<u8> {
        let mut tokens: SmallVec<[&[u8]; 16]> = self.tokens_of(end).collect();
        tokens.reverse();
        if end.is_rest {
            tokens.push(REST);
        }
        tokens.join(&b'.')
    }

    /// Removes the nodes of a pattern that no other one needs, if nobody listens to it; returns how many.
    pub fn prune(&mut self, end: End) -> usize {
        let (mut id, mut pruned) = (end.node, 0);
        self.nodes[id.0]
            .rest_subscriptions
            .take_if(|ids| ids.is_empty());
        while !self.nodes[id.0].is_needed()
            && let Some(node) = self.nodes.remove(id.0)
        {
            pruned += 1;
            if node.parent == id {
                self.first = None;
                break;
            }
            let parent = &mut self.nodes[node.parent.0];
            parent.children -= 1;
            if parent.one == Some(id) {
                parent.one = None;
            } else {
                self.by_token.remove(node.hash, |found| *found == id);
                self.by_token.join(node.hash);
            }
            id = node.parent;
        }
        pruned
    }

    /// Memory of the tables, in bytes.
    pub fn memory(&self) -> usize {
        self.nodes.memory() + self.by_token.memory()
    }

    /// Subscriptions to all patterns; for tests.
    pub fn subscriptions(&self) -> usize {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| node.subscriptions.len() + node.rest_subscriptions().len())
            .sum()
    }

    /// Panics if nodes are not found where they belong, or are left over.
    pub fn check(&self) {
        self.by_token.check(|id| self.nodes[id.0].hash, |_| {});
        let wildcards = self.nodes.iter().filter_map(|node| node.one);
        let reached = self.by_token.len() + wildcards.count() + usize::from(self.first.is_some());
        assert_eq!(reached, self.nodes.len(), "each node is reached");
        assert!(
            self.nodes.iter().all(Node::is_needed),
            "no node is left over"
        );
        let children: u32 = self.nodes.iter().map(|node| node.children).sum();
        let with_parent = self.nodes.len() - usize::from(self.first.is_some());
        assert_eq!(children as usize, with_parent, "children are counted");
    }

    /// The node behind another one for a token of a pattern.
    fn child(&self, parent: NodeId, token: &[u8]) -> Option<NodeId> {
        match token == ONE {
            true => self.nodes[parent.0].one,
            false => self.literal(parent, token),
        }
    }

    /// The node behind another one for that very token.
    fn literal(&self, parent: NodeId, token: &[u8]) -> Option<NodeId> {
        if self.nodes[parent.0].children == 0 {
            return None;
        }
        let is_it = |id: &NodeId| {
            let node = &self.nodes[id.0];
            node.parent == parent && *node.token == *token
        };
        let hash = self.hash(parent, token);
        self.by_token.find(hash, is_it).copied()
    }

    fn add_first(&mut self) -> NodeId {
        let id = NodeId(self.nodes.insert(Node::new(NodeId(0), b"", 0)));
        self.nodes[id.0].parent = id;
        self.first = Some(id);
        id
    }

    fn add(&mut self, parent: NodeId, token: &[u8]) -> NodeId {
        let hash = self.hash(parent, token);
        let id = NodeId(self.nodes.insert(Node::new(parent, token, hash)));
        let above = &mut self.nodes[parent.0];
        above.children += 1;
        if token == ONE {
            above.one = Some(id);
        } else {
            let Trie {
                nodes, by_token, ..
            } = self;
            by_token.insert(hash, id, |id| nodes[id.0].hash);
        }
        id
    }

    fn hash(&self, parent: NodeId, token: &[u8]) -> u64 {
        self.hasher.hash_one((parent, token))
    }
}
