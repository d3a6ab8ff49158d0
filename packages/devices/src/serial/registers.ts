/** Registers and bits of the National Semiconductor PC16550D (16550A), with the data sheet's names. */

/** Register offsets. Two registers at one offset: the first is read, the second is written. */
export const RBR = 0; // Receiver Buffer; also Divisor Latch LSB while LCR.DLAB is set
export const THR = 0; // Transmitter Holding
export const IER = 1; // Interrupt Enable; also Divisor Latch MSB while LCR.DLAB is set
export const IIR = 2; // Interrupt Identification (read)
export const FCR = 2; // FIFO Control (write)
export const LCR = 3; // Line Control
export const MCR = 4; // Modem Control
export const LSR = 5; // Line Status
export const MSR = 6; // Modem Status
export const SCR = 7; // Scratch
export const DLL = 0; // Divisor Latch, low byte
export const DLM = 1; // Divisor Latch, high byte

export const IER_ERBFI = 0x01; // received data available, and the character time-out
export const IER_ETBEI = 0x02; // transmitter holding register empty
export const IER_ELSI = 0x04; // receiver line status
export const IER_EDSSI = 0x08; // modem status
export const IER_BITS = 0x0f; // bits 4 to 7 are always 0

/** Interrupt identities (IIR bits 0 to 3), highest priority first. */
export const IIR_LINE_STATUS = 0x06;
export const IIR_DATA_AVAILABLE = 0x04;
export const IIR_TIME_OUT = 0x0c;
export const IIR_THR_EMPTY = 0x02;
export const IIR_MODEM_STATUS = 0x00;
export const IIR_NONE = 0x01;
export const IIR_FIFOS = 0xc0; // both set while FCR.FIFO_ENABLE is

export const FCR_FIFO_ENABLE = 0x01;
export const FCR_CLEAR_RECEIVER = 0x02; // self-clearing
export const FCR_CLEAR_TRANSMITTER = 0x04; // self-clearing
export const FCR_DMA_MODE = 0x08; // pins RXRDY and TXRDY, which nothing is wired to
export const FCR_TRIGGER = 0xc0; // receiver trigger level: 1, 4, 8, 14 characters
export const FCR_STORED = FCR_FIFO_ENABLE | FCR_DMA_MODE | FCR_TRIGGER;

export const LCR_WORD_LENGTH = 0x03; // 5, 6, 7, 8 bits
export const LCR_STOP_BITS = 0x04; // 2 instead of 1 (1.5 with 5-bit words)
export const LCR_PARITY = 0x08;
export const LCR_EVEN_PARITY = 0x10;
export const LCR_STICK_PARITY = 0x20;
export const LCR_BREAK = 0x40;
export const LCR_DLAB = 0x80;

export const MCR_DTR = 0x01;
export const MCR_RTS = 0x02;
export const MCR_OUT1 = 0x04;
export const MCR_OUT2 = 0x08;
export const MCR_LOOP = 0x10;
export const MCR_OUTPUTS = 0x0f;
export const MCR_BITS = 0x1f; // bits 5 to 7 are always 0

export const LSR_DR = 0x01; // data ready
export const LSR_OE = 0x02; // overrun error
export const LSR_PE = 0x04; // parity error
export const LSR_FE = 0x08; // framing error
export const LSR_BI = 0x10; // break interrupt
export const LSR_THRE = 0x20; // transmitter holding register empty
export const LSR_TEMT = 0x40; // transmitter empty: holding register and shift register
export const LSR_FIFO_ERROR = 0x80; // a character with PE, FE or BI is in the receiver FIFO
export const LSR_CHARACTER_ERRORS = LSR_PE | LSR_FE | LSR_BI;

export const MSR_DCTS = 0x01; // CTS changed
export const MSR_DDSR = 0x02; // DSR changed
export const MSR_TERI = 0x04; // RI went from on to off (trailing edge)
export const MSR_DDCD = 0x08; // DCD changed
export const MSR_CTS = 0x10;
export const MSR_DSR = 0x20;
export const MSR_RI = 0x40;
export const MSR_DCD = 0x80;
export const MSR_INPUTS = 0xf0;

/** Crystal of a PC's serial port, in hertz. The divisor latch divides it to 16 times the baud rate. */
export const CLOCK_HZ = 1_843_200;
