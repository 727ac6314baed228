//! The Verilog-2005 syntax tree: only what the emitter needs, every expression with its width.

/// An expression. Widths are explicit: operands of arithmetic, comparisons and choices have equal
/// widths, so no tool ever extends or truncates on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Width in bits.
    pub width: u32,
    /// Whether Verilog takes it as signed.
    pub signed: bool,
}

/// Forms of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A declared name.
    Name(String),
    /// A sized literal, by its bits.
    Number(u64),
    /// An unsized literal, for loop bounds and constant positions.
    Integer(i64),
    /// `name[index]`: a word of a memory, or one bit.
    Index(String, Box<Expr>),
    /// `name[high:low]`.
    Range(String, u32, u32),
    /// `name[index][high:low]`: bits of a word of a memory.
    WordRange(String, Box<Expr>, u32, u32),
    /// `name[base +: width]`.
    Part(String, Box<Expr>),
    /// `operator operand`.
    Unary(Unary, Box<Expr>),
    /// `left operator right`.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// `condition ? left : right`.
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `{a, b}`, high bits first.
    Concat(Vec<Expr>),
    /// `{count{operand}}`.
    Repeat(u32, Box<Expr>),
    /// `$signed(operand)`.
    Signed(Box<Expr>),
    /// `$unsigned(operand)`.
    Unsigned(Box<Expr>),
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// `!`
    Not,
    /// `&`, all bits.
    ReduceAnd,
}

/// Infix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `*`
    Mul,
    /// `%`, of constants.
    Rem,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `>>>`
    ShiftRight,
    /// `<`
    Less,
    /// `>`
    Greater,
    /// `==`
    Equal,
    /// `!=`
    Differ,
    /// `&&`
    And,
    /// `||`
    Or,
}

/// A statement inside an `always` or `initial` block.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `target <= value;`
    Assign(Expr, Expr),
    /// `target = value;`
    Block(Expr, Expr),
    /// `if ... else ...`
    If(Expr, Vec<Statement>, Vec<Statement>),
    /// `case` with the values of each arm; the last list is the default.
    Case(Expr, Vec<(Vec<Expr>, Vec<Statement>)>, Vec<Statement>),
    /// `for (variable = 0; variable < count; variable = variable + 1)`.
    For(String, u32, Vec<Statement>),
    /// `$readmemh("file", memory);`
    ReadMemory(String, String),
}

/// Whether a name holds its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `wire`
    Wire,
    /// `reg`
    Reg,
}

/// A declared name.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// `wire` or `reg`.
    pub kind: Kind,
    /// `signed`.
    pub signed: bool,
    /// Width in bits.
    pub width: u32,
    /// The name.
    pub name: String,
}

/// Direction of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `input`
    Input,
    /// `output`
    Output,
}

/// A port of a module.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Direction.
    pub direction: Direction,
    /// What is declared.
    pub declaration: Declaration,
}

/// Something in the body of a module.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A comment line, after an empty line.
    Comment(String),
    /// A declaration, a wire possibly with its value.
    Declare(Declaration, Option<Expr>),
    /// A memory.
    Memory {
        /// Attributes, without the brackets.
        attributes: String,
        /// Bits of a word.
        width: u32,
        /// Words.
        depth: u32,
        /// Name.
        name: String,
    },
    /// `integer name;`
    Integer(String),
    /// `assign target = value;`
    Assign(Expr, Expr),
    /// `always @(posedge clk)`.
    Clocked(Vec<Statement>),
    /// `always @*`.
    Combinational(Vec<Statement>),
    /// `initial`.
    Initial(Vec<Statement>),
    /// An instance of a module, with the connected expression of each port.
    Instance {
        /// Module.
        module: String,
        /// Instance name.
        name: String,
        /// Ports and what they connect to.
        connections: Vec<Connection>,
    },
    /// `generate for` of `count` copies; the variable is a `genvar`.
    Generate {
        /// Loop variable.
        variable: String,
        /// Copies.
        count: u32,
        /// Label of the block.
        label: String,
        /// Body.
        items: Vec<Item>,
    },
}

/// A connected port of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// Port of the module.
    pub port: String,
    /// Seen from the module.
    pub direction: Direction,
    /// What it connects to.
    pub value: Expr,
}

/// A module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// Name.
    pub name: String,
    /// Lines of the head comment.
    pub comment: Vec<String>,
    /// Ports in order.
    pub ports: Vec<Port>,
    /// Body in order.
    pub items: Vec<Item>,
}

impl Declaration {
    /// An unsigned wire.
    pub fn wire(name: impl Into<String>, width: u32) -> Self {
        Self { kind: Kind::Wire, signed: false, width, name: name.into() }
    }

    /// An unsigned register.
    pub fn reg(name: impl Into<String>, width: u32) -> Self {
        Self { kind: Kind::Reg, signed: false, width, name: name.into() }
    }

    /// What a name stands for, of its width and sign.
    pub fn of(name: &Expr, kind: Kind) -> Self {
        Self { kind, signed: name.signed, width: name.width, name: name.identifier().to_owned() }
    }

    /// The same, signed or not.
    #[must_use]
    pub fn sign(self, signed: bool) -> Self {
        Self { signed, ..self }
    }

    /// The name as an expression.
    pub fn expr(&self) -> Expr {
        Expr { node: Node::Name(self.name.clone()), width: self.width, signed: self.signed }
    }
}

impl Module {
    /// Adds an input and returns it.
    pub fn input(&mut self, name: &str, width: u32) -> Expr {
        self.port(Direction::Input, Declaration::wire(name, width))
    }

    /// Adds a port and returns it.
    pub fn port(&mut self, direction: Direction, declaration: Declaration) -> Expr {
        let expr = declaration.expr();
        self.ports.push(Port { direction, declaration });
        expr
    }

    /// Declares a register and returns it.
    pub fn reg(&mut self, name: &str, width: u32) -> Expr {
        self.declare(Declaration::reg(name, width), None)
    }

    /// Declares a wire with a value and returns it.
    pub fn wire(&mut self, name: &str, value: Expr) -> Expr {
        self.declare(Declaration::wire(name, value.width), Some(value))
    }

    /// Declares a name and returns it.
    pub fn declare(&mut self, declaration: Declaration, value: Option<Expr>) -> Expr {
        let expr = declaration.expr();
        self.items.push(Item::Declare(declaration, value));
        expr
    }

    /// Adds a comment line.
    pub fn comment(&mut self, text: impl Into<String>) {
        self.items.push(Item::Comment(text.into()));
    }

    /// Adds a clocked block.
    pub fn clocked(&mut self, statements: Vec<Statement>) {
        self.items.push(Item::Clocked(statements));
    }
}

/// A connection to an input of an instance.
pub fn drives(port: &str, value: Expr) -> Connection {
    Connection { port: port.to_owned(), direction: Direction::Input, value }
}

/// A connection to an output of an instance.
pub fn driven(port: &str, value: Expr) -> Connection {
    Connection { port: port.to_owned(), direction: Direction::Output, value }
}

/// `target <= value;`
pub fn assign(target: Expr, value: Expr) -> Statement {
    debug_assert!(target.width >= value.width, "{target:?} <= {value:?}");
    Statement::Assign(target, value)
}

/// `if (condition) ...`
pub fn when(condition: Expr, then: Vec<Statement>) -> Statement {
    Statement::If(condition, then, Vec::new())
}

/// A declared name.
pub fn name(name: impl Into<String>, width: u32) -> Expr {
    Expr { node: Node::Name(name.into()), width, signed: false }
}

/// A loop variable.
pub fn variable(name: &str) -> Expr {
    Expr { node: Node::Name(name.to_owned()), width: 32, signed: true }
}

/// An unsized literal.
pub fn integer(value: i64) -> Expr {
    Expr { node: Node::Integer(value), width: 32, signed: true }
}

/// A literal: the low `width` bits of `value`.
pub fn number(value: i64, width: u32) -> Expr {
    let mask = if width >= 64 { u64::MAX } else { (1 << width) - 1 };
    Expr { node: Node::Number(value as u64 & mask), width, signed: false }
}

/// `{parts}`, high bits first; parts of width 0 vanish.
pub fn concat(parts: Vec<Expr>) -> Expr {
    let mut parts: Vec<Expr> = parts.into_iter().filter(|part| part.width > 0).collect();
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let width = parts.iter().map(|part| part.width).sum();
    Expr { node: Node::Concat(parts), width, signed: false }
}

impl Expr {
    fn binary(self, operator: Binary, other: Self, width: u32) -> Self {
        let signed = self.signed && other.signed && width > 1;
        Self { node: Node::Binary(operator, Box::new(self), Box::new(other)), width, signed }
    }

    fn same_width(self, operator: Binary, other: Self) -> Self {
        debug_assert_eq!(self.width, other.width, "{self:?} {operator:?} {other:?}");
        let width = self.width;
        self.binary(operator, other, width)
    }

    fn relation(self, operator: Binary, other: Self) -> Self {
        debug_assert_eq!(self.width, other.width, "{self:?} {operator:?} {other:?}");
        Self { signed: false, ..self.binary(operator, other, 1) }
    }

    /// `self + other`, of their width.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.same_width(Binary::Add, other)
    }

    /// `self - other`, of their width.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.same_width(Binary::Sub, other)
    }

    /// `self * other`, to be assigned to something of `width` bits.
    #[must_use]
    pub fn times(self, other: Self, width: u32) -> Self {
        self.binary(Binary::Mul, other, width)
    }

    /// `self >>> by`.
    #[must_use]
    pub fn shifted_right(self, by: Self) -> Self {
        let (width, signed) = (self.width, self.signed);
        Self { signed, ..self.binary(Binary::ShiftRight, by, width) }
    }

    /// `self % other` of loop variables.
    #[must_use]
    pub fn remainder(self, other: u32) -> Self {
        self.binary(Binary::Rem, integer(i64::from(other)), 32)
    }

    /// `self < other`.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        self.relation(Binary::Less, other)
    }

    /// `self > other`.
    #[must_use]
    pub fn greater(self, other: Self) -> Self {
        self.relation(Binary::Greater, other)
    }

    /// `self == other`.
    #[must_use]
    pub fn equals(self, other: Self) -> Self {
        self.relation(Binary::Equal, other)
    }

    /// `self != other`.
    #[must_use]
    pub fn differs(self, other: Self) -> Self {
        self.relation(Binary::Differ, other)
    }

    /// `self && other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.relation(Binary::And, other)
    }

    /// `self || other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.relation(Binary::Or, other)
    }

    /// `!self`.
    #[must_use]
    pub fn not(self) -> Self {
        Self { width: 1, signed: false, node: Node::Unary(Unary::Not, Box::new(self)) }
    }

    /// `self ? yes : no`.
    #[must_use]
    pub fn choose(self, yes: Self, no: Self) -> Self {
        debug_assert_eq!(yes.width, no.width, "{yes:?} : {no:?}");
        let (width, signed) = (yes.width, yes.signed && no.signed);
        Self { node: Node::Choice(Box::new(self), Box::new(yes), Box::new(no)), width, signed }
    }

    /// `{count{self}}`.
    #[must_use]
    pub fn repeat(self, count: u32) -> Self {
        if count == 1 {
            return self;
        }
        Self { width: self.width * count, signed: false, node: Node::Repeat(count, Box::new(self)) }
    }

    /// The same bits, taken as signed.
    #[must_use]
    pub fn into_signed(self) -> Self {
        match self.node {
            _ if self.signed => self,
            Node::Number(_) => Self { signed: true, ..self },
            _ => Self { width: self.width, signed: true, node: Node::Signed(Box::new(self)) },
        }
    }

    /// The same bits, taken as unsigned.
    #[must_use]
    pub fn into_unsigned(self) -> Self {
        match self.node {
            _ if !self.signed => self,
            Node::Number(_) => Self { signed: false, ..self },
            _ => Self { width: self.width, signed: false, node: Node::Unsigned(Box::new(self)) },
        }
    }

    /// Zeros above, up to `width`.
    #[must_use]
    pub fn zero_extended(self, width: u32) -> Self {
        match self.node {
            _ if self.width >= width => self,
            Node::Number(_) if !self.signed => Self { width, ..self },
            _ => concat(vec![number(0, width - self.width), self]),
        }
    }

    /// Name of a declared name.
    ///
    /// # Panics
    /// If this is another expression.
    pub fn identifier(&self) -> &str {
        match &self.node {
            Node::Name(name) => name,
            _ => panic!("invariant: {self:?} is a declared name"),
        }
    }

    /// Bits `low .. low + width` of a declared name.
    #[must_use]
    pub fn bits(&self, low: u32, width: u32) -> Self {
        if low == 0 && width == self.width {
            return self.clone();
        }
        debug_assert!(low + width <= self.width, "{self:?}[{low} +: {width}]");
        let name = self.identifier().to_owned();
        let node = if width == 1 {
            Node::Index(name, Box::new(integer(i64::from(low))))
        } else {
            Node::Range(name, low + width - 1, low)
        };
        Self { node, width, signed: false }
    }

    /// `self[base +: width]` of a declared name.
    #[must_use]
    pub fn part(&self, base: Self, width: u32) -> Self {
        if width == self.width {
            return self.clone();
        }
        let name = self.identifier().to_owned();
        let node = if width == 1 { Node::Index(name, Box::new(base)) } else { Node::Part(name, Box::new(base)) };
        Self { node, width, signed: false }
    }

    /// Element `variable * step + offset` of `width` bits, by an integer.
    #[must_use]
    pub fn element(&self, variable: &Self, step: u32, offset: u32, width: u32) -> Self {
        let mut base = variable.clone();
        if step != 1 {
            base = base.times(integer(i64::from(step)), 32);
        }
        if offset != 0 {
            base = base.plus(integer(i64::from(offset)));
        }
        self.part(base, width)
    }

    /// A word of a memory of that name.
    pub fn word(memory: &str, address: Self, width: u32) -> Self {
        let address = if let Node::Integer(_) = address.node { address } else { address.into_unsigned() };
        Self { node: Node::Index(memory.to_owned(), Box::new(address)), width, signed: false }
    }

    /// Bits `low .. low + width` of a word of a memory of that name.
    pub fn word_bits(memory: &str, address: Self, low: u32, width: u32) -> Self {
        let node = Node::WordRange(memory.to_owned(), Box::new(address.into_unsigned()), low + width - 1, low);
        Self { node, width, signed: false }
    }
}

/// `a || b || ...`; 0 for none.
pub fn any(bits: impl IntoIterator<Item = Expr>) -> Expr {
    bits.into_iter().reduce(Expr::or).unwrap_or_else(|| number(0, 1))
}
