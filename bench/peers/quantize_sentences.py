# SPDX-License-Identifier: Apache-2.0
"""Sentences out of templates and word lists of our own: what the sentence-embedding model is calibrated and judged with."""

import random


def words(text):
    return text.split("|")


PEOPLE = words("the teacher|a young nurse|my neighbour|the head cook|an old sailor|our landlord|the committee|a travelling salesman|"
               "the new intern|her grandmother|two engineers|the night guard|a violinist|the mayor|several students|the mechanic|a "
               "botanist|the goalkeeper|their lawyer|the pilot")
DID = words("repaired|forgot about|described|bought|refused to discuss|photographed|carefully measured|complained about|sold|painted|lost|"
            "studied|carried|borrowed|hid|praised|cleaned|weighed|replaced|dreamt of")
DO = words("repair|forget|describe|buy|photograph|measure|sell|paint|lose|study|carry|borrow|hide|praise|clean|weigh|replace")
THINGS = words("the broken clock|a basket of pears|an unfinished report|the quarterly budget|a letter from the bank|seven wooden chairs|"
               "the engine of the ferry|a rare orchid|the map of the tunnels|an expensive camera|the recipe for rye bread|"
               "a stack of invoices|the telescope|a leaking pipe|the museum's oldest coin|a proof of the theorem|the password file|"
               "a pair of red boots|the vaccine samples|a chess set")
PLACES = words("in the harbour|behind the library|at the railway station|on the third floor|near the glacier|in a crowded market|under the "
               "bridge|at the hospital|in the capital|on a quiet island|beside the reactor|in the greenhouse")
TIMES = words("yesterday|before sunrise|every Tuesday|during the storm|last winter|in 1987|after the meeting|at noon|for three weeks|while "
              "nobody watched|at the end of the season|twice a day")
TOPICS = words("interest rates|the migration of storks|sorting algorithms|sourdough|knee surgery|copyright law|solar panels|medieval trade|"
               "tidal energy|grammar|sleep|volcanoes|compilers|football tactics|train timetables|honey bees")
JUDGED = words("surprisingly cheap|hard to explain|worse than expected|not worth the trouble|a great success|dangerous when wet|older than "
               "the city|almost finished|too loud|perfectly safe")
FORMS = ["{p} {did} {t} {at} {when}.", "{when}, {p} {did} {t} {at}.", "Why did {p} {do} {t} {when}?", "How do {o} and {o2} differ?",
         "{t} {at} was {j}.", "I would like to know more about {o}.", "According to {p}, {o} are {j}, but {p2} disagrees.",
         "Please return {t} to {p} {when}.", "{n} per cent of the visitors {at} asked about {o}.", "Best introduction to {o}",
         "Error {n}: {t} could not be found {at}.", "{p} {did} {t}; {p2} {did2} {t2}.", "If {o} were {j}, {p} would have left {when}.",
         '"{t} is {j}," said {p} {at}.']


def sentences(count, seed):
    """`count` different ones."""
    chance = random.Random(seed)
    out = {}
    while len(out) < count:
        (p, p2), (t, t2), (did, did2), (o, o2) = (chance.sample(some, 2) for some in (PEOPLE, THINGS, DID, TOPICS))
        made = chance.choice(FORMS).format(p=p, p2=p2, t=t, t2=t2, did=did, did2=did2, o=o, o2=o2, do=chance.choice(DO),
                                           at=chance.choice(PLACES), when=chance.choice(TIMES), j=chance.choice(JUDGED),
                                           n=chance.randint(2, 998))
        out[made[0].upper() + made[1:]] = True
    return list(out)
