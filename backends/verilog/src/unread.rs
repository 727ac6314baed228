//! Bits that nothing reads: linters report them, so a module gathers them in one wire.

use crate::syntax::{Declaration, Direction, Expr, Item, Module, Node, Statement, Unary, concat, name, number};
use std::collections::BTreeMap;

/// Adds a wire `unused` that reads every bit of inputs, wires and registers that nothing else
/// reads; none if there are no such bits.
pub fn sink(module: &mut Module) {
    let mut usage = Usage::default();
    for port in &module.ports {
        if port.direction == Direction::Input {
            usage.declare(&port.declaration);
        }
    }
    usage.items(&module.items, true);
    usage.items(&module.items, false);
    let unread = usage.unread();
    if unread.is_empty() {
        return;
    }
    let parts = concat([vec![number(0, 1)], unread].concat());
    let value = Expr { width: 1, signed: false, node: Node::Unary(Unary::ReduceAnd, Box::new(parts)) };
    module.items.push(Item::Comment("Bits that nothing reads.".to_owned()));
    module.items.push(Item::Declare(Declaration::wire("unused", 1), Some(value)));
}

/// For each declared name, which bits are read.
#[derive(Default)]
struct Usage {
    read: BTreeMap<String, Vec<bool>>,
}

impl Usage {
    fn declare(&mut self, declaration: &Declaration) {
        self.read.insert(declaration.name.clone(), vec![false; declaration.width as usize]);
    }

    fn mark(&mut self, name: &str, bits: Option<(u32, u32)>) {
        if let Some(read) = self.read.get_mut(name) {
            match bits {
                Some((low, high)) => read[low as usize..=high as usize].fill(true),
                None => read.fill(true),
            }
        }
    }

    /// Declares what the items declare, or marks what they read.
    fn items(&mut self, items: &[Item], declare: bool) {
        for item in items {
            match item {
                Item::Declare(declaration, value) => {
                    if declare {
                        self.declare(declaration);
                    } else if let Some(value) = value {
                        self.expr(value);
                    }
                }
                Item::Generate { items, .. } => self.items(items, declare),
                _ if declare => {}
                Item::Assign(target, value) => {
                    self.target(target);
                    self.expr(value);
                }
                Item::Clocked(statements) => {
                    self.mark("clk", None);
                    self.statements(statements);
                }
                Item::Combinational(statements) | Item::Initial(statements) => self.statements(statements),
                Item::Instance { connections, .. } => {
                    for connection in connections {
                        match connection.direction {
                            Direction::Input => self.expr(&connection.value),
                            Direction::Output => self.target(&connection.value),
                        }
                    }
                }
                Item::Comment(_) | Item::Memory { .. } | Item::Integer(_) => {}
            }
        }
    }

    fn statements(&mut self, statements: &[Statement]) {
        for statement in statements {
            match statement {
                Statement::Assign(target, value) | Statement::Block(target, value) => {
                    self.target(target);
                    self.expr(value);
                }
                Statement::If(condition, then, otherwise) => {
                    self.expr(condition);
                    self.statements(then);
                    self.statements(otherwise);
                }
                Statement::Case(selector, arms, default) => {
                    self.expr(selector);
                    for (_, statements) in arms {
                        self.statements(statements);
                    }
                    self.statements(default);
                }
                Statement::For(_, _, statements) => self.statements(statements),
                Statement::ReadMemory(..) => {}
            }
        }
    }

    /// An assigned expression reads only what its position is computed from.
    fn target(&mut self, target: &Expr) {
        if let Node::Index(_, position) | Node::Part(_, position) | Node::WordRange(_, position, ..) = &target.node {
            self.expr(position);
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.node {
            Node::Name(name) => self.mark(name, None),
            Node::Number(_) | Node::Integer(_) => {}
            Node::Range(name, high, low) => self.mark(name, Some((*low, *high))),
            Node::Index(name, position) | Node::Part(name, position) => {
                match position.node {
                    Node::Integer(low) => self.mark(name, Some((low as u32, low as u32 + expr.width - 1))),
                    _ => self.mark(name, None),
                }
                self.expr(position);
            }
            Node::WordRange(name, position, ..) => {
                self.mark(name, None);
                self.expr(position);
            }
            Node::Unary(_, a) | Node::Repeat(_, a) | Node::Signed(a) | Node::Unsigned(a) => self.expr(a),
            Node::Binary(_, a, b) => {
                self.expr(a);
                self.expr(b);
            }
            Node::Choice(a, b, c) => {
                self.expr(a);
                self.expr(b);
                self.expr(c);
            }
            Node::Concat(parts) => parts.iter().for_each(|part| self.expr(part)),
        }
    }

    fn unread(&self) -> Vec<Expr> {
        let mut parts = Vec::new();
        for (identifier, bits) in &self.read {
            let declared = name(identifier, bits.len() as u32);
            let mut start = 0;
            while start < bits.len() {
                let end = (start..bits.len()).find(|&bit| bits[bit] != bits[start]).unwrap_or(bits.len());
                if !bits[start] {
                    parts.push(declared.bits(start as u32, (end - start) as u32));
                }
                start = end;
            }
        }
        parts
    }
}
