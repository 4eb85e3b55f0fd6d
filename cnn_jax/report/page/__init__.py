"""The page of runs side by side: one HTML file that needs no other and no network.

content: what is compared, as numbers; pictures: what is taken from the folders; document: the page itself, with its
look in page.css and its charts in page.js.
"""
