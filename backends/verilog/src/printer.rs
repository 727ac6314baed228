//! From the syntax tree to text.

use crate::syntax::{
    Binary, Connection, Declaration, Direction, Expr, Item, Kind, Module, Node, Port, Statement, Unary,
};

const LINE: usize = 110;

/// The text of a module, a file of its own.
pub fn module(module: &Module) -> String {
    let mut printer = Printer::default();
    for line in &module.comment {
        printer.comment(line);
    }
    printer.line(&format!("module {} (", module.name));
    printer.indent += 1;
    for (position, port) in module.ports.iter().enumerate() {
        let comma = if position + 1 == module.ports.len() { "" } else { "," };
        printer.line(&format!("{}{comma}", port_text(port)));
    }
    printer.indent -= 1;
    printer.line(");");
    printer.indent += 1;
    printer.items(&module.items);
    printer.indent -= 1;
    printer.line("endmodule");
    printer.text
}

fn port_text(port: &Port) -> String {
    let direction = match port.direction {
        Direction::Input => "input ",
        Direction::Output => "output",
    };
    format!("{direction} {}", declaration(&port.declaration))
}

fn range(width: u32) -> String {
    if width == 1 { String::new() } else { format!("[{}:0] ", width - 1) }
}

fn declaration(declaration: &Declaration) -> String {
    let kind = match declaration.kind {
        Kind::Wire => "wire",
        Kind::Reg => "reg ",
    };
    let signed = if declaration.signed { "signed " } else { "" };
    format!("{kind} {signed}{}{}", range(declaration.width), declaration.name)
}

#[derive(Default)]
struct Printer {
    text: String,
    indent: usize,
}

impl Printer {
    /// A line, broken at blanks where it is long.
    fn line(&mut self, content: &str) {
        let mut rest = content;
        let mut indent = self.indent * 4;
        while indent + rest.len() > LINE {
            let limit = LINE.saturating_sub(indent).max(40).min(rest.len() - 1);
            let Some(at) = rest[..limit].rfind(' ').or_else(|| rest[limit..].find(' ').map(|at| at + limit)) else {
                break;
            };
            if rest[..at].trim().is_empty() {
                break;
            }
            self.raw(indent, &rest[..at]);
            rest = &rest[at + 1..];
            indent = (self.indent + 2) * 4;
        }
        self.raw(indent, rest);
    }

    fn raw(&mut self, indent: usize, content: &str) {
        let content = content.trim_end();
        if !content.is_empty() {
            self.text.push_str(&" ".repeat(indent));
            self.text.push_str(content);
        }
        self.text.push('\n');
    }

    fn comment(&mut self, content: &str) {
        self.raw(self.indent * 4, &format!("// {}", content.replace(['\n', '\r'], " ")));
    }

    fn items(&mut self, items: &[Item]) {
        for item in items {
            self.item(item);
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Comment(content) => {
                self.text.push('\n');
                self.comment(content);
            }
            Item::Declare(declared, None) => self.line(&format!("{};", declaration(declared))),
            Item::Declare(declared, Some(value)) => {
                self.line(&format!("{} = {};", declaration(declared), expr(value)));
            }
            Item::Memory { attributes, width, depth, name } => {
                self.line(&format!("(* {attributes} *)"));
                self.line(&format!("reg  {}{name} [0:{}];", range(*width), depth - 1));
            }
            Item::Integer(name) => self.line(&format!("integer {name};")),
            Item::Assign(target, value) => self.line(&format!("assign {} = {};", expr(target), expr(value))),
            Item::Clocked(statements) => self.block("always @(posedge clk)", statements),
            Item::Combinational(statements) => self.block("always @*", statements),
            Item::Initial(statements) => self.block("initial", statements),
            Item::Instance { module, name, connections } => {
                self.line(&format!("{module} {name} ("));
                self.indent += 1;
                for (position, Connection { port, value, .. }) in connections.iter().enumerate() {
                    let comma = if position + 1 == connections.len() { "" } else { "," };
                    self.line(&format!(".{port}({}){comma}", expr(value)));
                }
                self.indent -= 1;
                self.line(");");
            }
            Item::Generate { variable, count, label, items } => {
                self.line(&format!("genvar {variable};"));
                self.line("generate");
                self.indent += 1;
                self.line(&format!(
                    "for ({variable} = 0; {variable} < {count}; {variable} = {variable} + 1) begin : {label}"
                ));
                self.indent += 1;
                self.items(items);
                self.indent -= 1;
                self.line("end");
                self.indent -= 1;
                self.line("endgenerate");
            }
        }
    }

    /// `head`, then the statements, in `begin ... end` unless there is just one.
    fn block(&mut self, head: &str, statements: &[Statement]) {
        if let [statement] = statements {
            if let Some(simple) = simple(statement) {
                self.line(&format!("{head} {simple}"));
                return;
            }
            if matches!(statement, Statement::If(_, _, otherwise) if otherwise.is_empty()) {
                self.statement(&format!("{head} "), statement);
                return;
            }
        }
        self.line(&format!("{head} begin"));
        self.body(statements);
        self.line("end");
    }

    fn body(&mut self, statements: &[Statement]) {
        self.indent += 1;
        for statement in statements {
            self.statement("", statement);
        }
        self.indent -= 1;
    }

    fn statement(&mut self, before: &str, statement: &Statement) {
        if let Some(simple) = simple(statement) {
            self.line(&format!("{before}{simple}"));
            return;
        }
        match statement {
            Statement::If(condition, then, otherwise) => self.branches(before, condition, then, otherwise),
            Statement::Case(selector, arms, default) => {
                self.line(&format!("{before}case ({})", expr(selector)));
                self.indent += 1;
                for (values, statements) in arms {
                    let values: Vec<String> = values.iter().map(expr).collect();
                    self.block(&format!("{}:", values.join(", ")), statements);
                }
                self.block("default:", default);
                self.indent -= 1;
                self.line("endcase");
            }
            Statement::For(variable, count, statements) => {
                let head = format!("{before}for ({variable} = 0; {variable} < {count}; {variable} = {variable} + 1)");
                self.block(&head, statements);
            }
            Statement::Assign(..) | Statement::Block(..) | Statement::ReadMemory(..) => {}
        }
    }

    fn branches(&mut self, before: &str, condition: &Expr, then: &[Statement], otherwise: &[Statement]) {
        self.line(&format!("{before}if ({}) begin", expr(condition)));
        self.body(then);
        match otherwise {
            [] => self.line("end"),
            [Statement::If(condition, then, otherwise)] => self.branches("end else ", condition, then, otherwise),
            _ => {
                self.line("end else begin");
                self.body(otherwise);
                self.line("end");
            }
        }
    }
}

/// The text of a statement that fits one line.
fn simple(statement: &Statement) -> Option<String> {
    match statement {
        Statement::Assign(target, value) => Some(format!("{} <= {};", expr(target), expr(value))),
        Statement::Block(target, value) => Some(format!("{} = {};", expr(target), expr(value))),
        Statement::ReadMemory(file, memory) => Some(format!("$readmemh(\"{file}\", {memory});")),
        Statement::If(condition, then, otherwise) => match (&then[..], &otherwise[..]) {
            ([Statement::Assign(target, value)], []) => {
                Some(format!("if ({}) {} <= {};", expr(condition), expr(target), expr(value)))
            }
            _ => None,
        },
        Statement::Case(..) | Statement::For(..) => None,
    }
}

/// The text of an expression.
pub fn expr(expression: &Expr) -> String {
    precedence(expression, 0)
}

/// Binding strength of an infix operator; a choice has 1.
fn strength(operator: Binary) -> u32 {
    match operator {
        Binary::Mul | Binary::Rem => 9,
        Binary::Add | Binary::Sub => 8,
        Binary::ShiftRight => 7,
        Binary::Less | Binary::Greater => 6,
        Binary::Equal | Binary::Differ => 5,
        Binary::And => 3,
        Binary::Or => 2,
    }
}

fn precedence(expression: &Expr, outer: u32) -> String {
    match &expression.node {
        Node::Name(name) => name.clone(),
        Node::Number(bits) => literal(*bits, expression.width, expression.signed),
        Node::Integer(value) => value.to_string(),
        Node::Index(name, index) => format!("{name}[{}]", expr(index)),
        Node::Range(name, high, low) => format!("{name}[{high}:{low}]"),
        Node::WordRange(name, index, high, low) => format!("{name}[{}][{high}:{low}]", expr(index)),
        Node::Part(name, base) => format!("{name}[{} +: {}]", expr(base), expression.width),
        Node::Unary(operator, operand) => {
            let operator = match operator {
                Unary::Not => "!",
                Unary::ReduceAnd => "&",
            };
            format!("{operator}{}", precedence(operand, 10))
        }
        Node::Binary(operator, left, right) => {
            let mine = strength(*operator);
            let symbol = match operator {
                Binary::Mul => "*",
                Binary::Rem => "%",
                Binary::Add => "+",
                Binary::Sub => "-",
                Binary::ShiftRight => ">>>",
                Binary::Less => "<",
                Binary::Greater => ">",
                Binary::Equal => "==",
                Binary::Differ => "!=",
                Binary::And => "&&",
                Binary::Or => "||",
            };
            // A chain of one associative operator needs no brackets; mixed ones get them for the reader.
            let chain = |operand: &Expr| match &operand.node {
                Node::Binary(inner, ..) if inner == operator => mine,
                _ => mine.max(4) + 1,
            };
            let text = format!("{} {symbol} {}", precedence(left, chain(left)), precedence(right, mine.max(4) + 1));
            bracket(text, mine < outer)
        }
        Node::Choice(condition, yes, no) => {
            let text = format!("{} ? {} : {}", precedence(condition, 2), precedence(yes, 2), precedence(no, 1));
            bracket(text, 1 < outer)
        }
        Node::Concat(parts) => {
            let parts: Vec<String> = parts.iter().map(expr).collect();
            format!("{{{}}}", parts.join(", "))
        }
        Node::Repeat(count, operand) => match operand.node {
            Node::Concat(_) => format!("{{{count}{}}}", expr(operand)),
            _ => format!("{{{count}{{{}}}}}", expr(operand)),
        },
        Node::Signed(operand) => format!("$signed({})", expr(operand)),
        Node::Unsigned(operand) => format!("$unsigned({})", expr(operand)),
    }
}

fn bracket(text: String, needed: bool) -> String {
    if needed { format!("({text})") } else { text }
}

fn literal(bits: u64, width: u32, signed: bool) -> String {
    let negative = width <= 64 && bits >> (width - 1) == 1;
    match (signed, width) {
        (false, 1) => format!("1'b{bits}"),
        (true, _) if negative && bits.count_ones() == 1 => format!("{width}'sh{bits:x}"),
        (true, _) if negative => {
            let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
            format!("-{width}'sd{}", bits.wrapping_neg() & mask)
        }
        (true, _) => format!("{width}'sd{bits}"),
        (false, _) if bits >> 32 != 0 => format!("{width}'h{bits:x}"),
        (false, _) => format!("{width}'d{bits}"),
    }
}
