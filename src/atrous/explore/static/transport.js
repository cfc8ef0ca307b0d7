// How the page reaches what answers it: here the server that it came from.
export const LINK = "The link holds this stack. It opens on this machine only, while `atrous explore` runs here";

export const begun = (first) => first;

export const reach = (path, options) => fetch(path, options);
