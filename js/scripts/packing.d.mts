export declare const FROM_TEXT: string;
export declare function toText(bytes: Uint8Array): string;
export declare function selfInflating(code: string): Promise<string>;
